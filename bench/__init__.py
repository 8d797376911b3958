"""Benchmarks, runnable one by one: python -m bench.fleet, python -m bench.requests."""
