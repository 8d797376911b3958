"""Encoding of Steam messages."""
