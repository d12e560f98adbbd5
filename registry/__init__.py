"""What both sides share: bytes and `now` in, values out. No sockets, no files, no clock."""
