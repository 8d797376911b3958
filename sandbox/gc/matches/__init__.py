"""Matches of the simulated GC: generated, real ones from files, hidden ones."""
