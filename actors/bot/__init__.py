"""One account's session: the bot actor and what it depends on."""
