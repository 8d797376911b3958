"""What Redis holds: accounts, checkouts with leases, quotas and auth state."""
