"""Several services on one Valkey and one simulated Steam, and everything around them fails.

    python -m bench.chaos --minutes 10 --seed 1

Repeatable: what fails, when and for how long is drawn from the seed before anything starts. The judge is
the simulated Steam's journal, which no service can write to.
"""
