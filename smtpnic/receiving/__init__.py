"""For those who run a receiving mail server: set it up, try it, and see whom it would refuse."""
