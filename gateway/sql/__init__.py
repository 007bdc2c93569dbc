"""From the text of a query to the relational model."""
