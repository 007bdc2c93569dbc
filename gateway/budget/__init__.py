"""Privacy budget: composition, legal transitions, the durable ledger."""
