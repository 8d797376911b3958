"""Replay files and replay server."""
