"""Encoding of Steam and GC messages."""
