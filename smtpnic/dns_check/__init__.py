"""What an authoritative server must do, asked point by point."""
