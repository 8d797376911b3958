"""Logging: structlog set-up, redaction, output."""
