"""Simulated Game Coordinator (GC)."""
