"""The relational model: what a question is, and what is known about it without looking at data."""
