"""WHOIS (RFC 3912): the public record of a mail server, for people."""
