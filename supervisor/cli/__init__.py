"""The `botapi` command."""
