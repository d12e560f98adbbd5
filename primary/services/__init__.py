"""The primary's gRPC services: messages in, the primary's own values and errors behind them."""
