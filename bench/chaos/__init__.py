"""Chaos test: several services on one Valkey and one simulated Steam, with random faults.

    python -m bench.chaos --minutes 10 --seed 1

The seed determines all faults before a round starts. Results are checked against the simulated Steam's
journal, which no service can write to.
"""
