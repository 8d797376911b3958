"""Replay files: download, verification."""
