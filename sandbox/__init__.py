"""The data domain: raw data, and everything that may touch it."""
