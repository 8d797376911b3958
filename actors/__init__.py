"""The actors of BotAPI: bots, router and the HTTP edge, and what they stand on."""
