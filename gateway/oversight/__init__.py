"""What auditors ask of the log beyond its records: reports, probing, evidence for one answer."""
