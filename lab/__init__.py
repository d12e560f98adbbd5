"""A whole cluster on loopback addresses, of real processes: for tests, the demo and bench."""
