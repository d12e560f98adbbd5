"""What a receiving mail server may ask about its clients: a policy service, and filters.

It asks DNS and nothing else of the registry, so it stands beside the programs that keep it.
"""
