"""What is asked of who registers, and what comes of it: observations in, verdicts out. Pure."""
