"""How auth state looks inside `botapi:sentries`: a JSON object, version 1, unknown fields ignored."""

from __future__ import annotations

import orjson

from actors.steam.port import AuthState

VERSION = 1


def auth_to_json(auth: AuthState) -> str:
    """Return the text to store."""
    return orjson.dumps(
        {
            "v": VERSION,
            "steam_id": str(auth.steam_id),
            "refresh_token": auth.refresh_token,
            "guard_data": auth.guard_data,
        }
    ).decode()


def auth_from_json(text: str) -> AuthState | None:
    """Return what was stored, or None for what we did not write (an old sentry, say)."""
    try:
        stored = orjson.loads(text)
        steam_id, token = int(stored["steam_id"]), stored["refresh_token"] or ""
        guard_data = stored.get("guard_data")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if not 0 < steam_id < 1 << 64 or not isinstance(token, str):
        return None
    return AuthState(steam_id, token, guard_data if isinstance(guard_data, str) else None)
