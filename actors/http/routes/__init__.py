"""Handlers of all routes."""
