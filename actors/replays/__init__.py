"""Replay files: what is verified of them."""
