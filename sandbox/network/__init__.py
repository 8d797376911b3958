"""Connections of simulated CMs, and the CM directory."""
