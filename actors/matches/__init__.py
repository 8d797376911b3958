"""From the GC's bytes to match JSON and replay URL."""
