"""Measures the audit log: how long a large one takes to write, to export and to verify offline."""
