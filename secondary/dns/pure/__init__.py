"""What answers the common query where there is no compiler; nothing else is behind it."""
