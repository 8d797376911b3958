"""The simulated Game Coordinator."""
