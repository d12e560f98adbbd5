"""Measurements, each runnable with one command, its peers beside it in the same run."""
