"""What is counted and measured, for Prometheus. Who is counted knows only a port of its own."""
