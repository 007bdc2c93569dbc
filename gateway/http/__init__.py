"""HTTP: routes, wire models, problems."""
