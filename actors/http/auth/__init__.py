"""Who may ask: API keys, client addresses, sessions, the admin token."""
