"""The databases that the ledger and the log may lie in: one schema, and an adapter for each."""
