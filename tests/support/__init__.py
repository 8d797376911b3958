"""Environments, fakes, processes and checks for the tests."""
