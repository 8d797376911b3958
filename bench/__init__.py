"""Benchmarks, each runnable by itself: python -m bench.fleet, python -m bench.requests."""
