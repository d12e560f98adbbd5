"""What a secondary serves over gRPC."""
