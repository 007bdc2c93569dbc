"""A witness of other people's logs (C2SP tlog-witness): it cosigns what extends what it saw, and nothing else."""
