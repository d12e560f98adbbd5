"""Follow the stream, keep the replica in etcd, answer DNS and WHOIS from it."""
