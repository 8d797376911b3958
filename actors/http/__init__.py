"""HTTP API of the service, on aiohttp."""
