"""TCP and WebSocket connections to a CM."""
