"""DuckDB, and nothing else."""
