"""From the proved plan to the engine's SQL: total functions, exact integers, bounded units."""
