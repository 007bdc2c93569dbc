"""Facts of each scalar function, by family: type, bounds, public keys, nulls. What has no rule here cannot be asked."""
