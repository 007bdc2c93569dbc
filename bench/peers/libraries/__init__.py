"""One script for each library; each runs in that library's own virtual environment, never in the project's."""
