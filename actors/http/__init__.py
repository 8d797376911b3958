"""The aiohttp edge of the service."""
