"""Starts, restarts and stops everything; the only half that knows the whole tree."""

__version__ = "0.1.0"
