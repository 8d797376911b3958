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
        return AuthState(
            steam_id=int(stored["steam_id"]),
            refresh_token=str(stored["refresh_token"] or ""),
            guard_data=stored.get("guard_data"),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
