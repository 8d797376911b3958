"""The dashboard: what the page shows."""
