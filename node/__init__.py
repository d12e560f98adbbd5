"""What every process of the cluster runs on: settings, logging, metrics, TLS, files."""
