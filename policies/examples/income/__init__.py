"""Incomes and benefits of US households, from a public-domain file."""
