"""Who may ask what: the only maker of an admitted query."""
