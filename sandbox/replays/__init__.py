"""Replay files and their servers."""
