"""Exact answers on real data: how much is withheld, and what they take beside noisy ones."""
