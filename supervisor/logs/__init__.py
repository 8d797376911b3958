"""Logging: set-up, redaction, output."""
