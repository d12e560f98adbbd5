"""What of the registry is compiled; absent where nothing was at hand to build it with."""
