"""The A record set: which mirrors resolvers are sent to, and under which names."""
