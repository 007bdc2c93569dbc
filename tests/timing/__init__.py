"""`make test-timing`: whether the clock tells neighbouring data apart."""
