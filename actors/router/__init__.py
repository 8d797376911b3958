"""Match requests -> bots: the router actor and what it depends on."""
