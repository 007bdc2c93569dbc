"""What a release counts, reckoned slowly and obviously: loops and fractions; no SQL, and nothing of `lower`."""
