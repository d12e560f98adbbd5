"""The primary's database: the log, the current records, and what never leaves the primary."""
