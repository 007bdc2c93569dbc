"""What two homes that differ in one unit show and keep: the same, but for released numbers."""
