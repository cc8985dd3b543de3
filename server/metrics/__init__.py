"""The Prometheus metrics that `/metrics` exports."""
