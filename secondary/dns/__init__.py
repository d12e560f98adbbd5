"""Answers DNS from memory: table, responder and transport, each behind a seam of its own."""
