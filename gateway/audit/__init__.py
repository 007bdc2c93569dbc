"""The log that nobody can alter, and its offline verifier."""
