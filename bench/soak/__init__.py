"""A served home under mixed work for an hour, and what its processes hold meanwhile."""
