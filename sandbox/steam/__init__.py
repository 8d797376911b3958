"""Simulated Steam: accounts, authentication, sessions."""
