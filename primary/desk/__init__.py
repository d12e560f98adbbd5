"""Where people apply: lookups, letters and the book of what waits. The rules are elsewhere."""
