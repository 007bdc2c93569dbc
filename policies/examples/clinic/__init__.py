"""Outpatient visits, generated: Chinese names of tables and columns, skewed counts per person."""
