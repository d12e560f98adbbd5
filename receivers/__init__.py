"""Configurations for mail servers that ask the registry; `smtpnic receiver setup` puts them in."""
