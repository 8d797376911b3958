"""Redis: client, embedded Valkey, metrics."""
