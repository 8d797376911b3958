"""The simulated Steam: accounts, authentication, sessions."""
