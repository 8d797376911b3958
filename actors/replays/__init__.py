"""Replay files: availability, download, verification."""
