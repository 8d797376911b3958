"""Matches: decoding the GC's answers, cache, store, replay URL."""
