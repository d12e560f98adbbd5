"""Who may follow the log over mutual TLS: tokens, nodes, certificates."""
