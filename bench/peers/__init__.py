"""Other people's libraries on the same questions, the same data, the same bounds and the same price, in one run."""
