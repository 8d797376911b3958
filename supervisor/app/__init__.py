"""Composition root: builds and runs the service."""
