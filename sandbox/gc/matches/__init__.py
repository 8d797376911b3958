"""Matches of the simulated GC: generated, stored in files, hidden."""
