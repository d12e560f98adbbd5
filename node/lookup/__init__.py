"""Looking registrations up, for people: WHOIS (RFC 3912) and RDAP (RFC 9082, 9083)."""
