"""Auth state that Redis does not have yet, or has lost.

Steam sends a refresh token once. Until Redis has acknowledged it, and again when Redis comes back without
it, the token exists only in this process; the next bot of this process that has the account stores it.
Nothing here survives the process.
"""

from __future__ import annotations

from actors.accounts.refresh_token import expires_at
from actors.steam.port import AuthState


class KnownAuth:
    """By account; pure bookkeeping."""

    def __init__(self) -> None:
        self._known: dict[str, AuthState] = {}
        self._unsaved: set[str] = set()

    def arrived(self, account: str, auth: AuthState) -> None:
        """Steam gave it to us; Redis does not have it."""
        self._known[account] = auth
        self._unsaved.add(account)

    def is_stored(self, account: str, auth: AuthState) -> None:
        """Redis has it; unless a newer one is still to be stored, it is the newest there is."""
        if account in self._unsaved and self._known[account] != auth:
            return
        self._unsaved.discard(account)
        self._known[account] = auth

    def may_be_lost(self, account: str) -> None:
        """Redis has lost its newest writes, perhaps this one, too."""
        if account in self._known:
            self._unsaved.add(account)

    def unsaved(self, account: str, stored: AuthState | None = None) -> AuthState | None:
        """Return what is still to be stored, unless `stored` is at least as new."""
        held = self._known.get(account) if account in self._unsaved else None
        if held is not None and stored is not None and _is_newer(stored, held):
            self.forget(account)
            return None
        return held

    def let_go(self, account: str) -> None:
        """The account is not ours any more: what Redis has is not ours to remember."""
        if account not in self._unsaved:
            self._known.pop(account, None)

    def forget(self, account: str) -> None:
        """It is worth nothing any more."""
        self._known.pop(account, None)
        self._unsaved.discard(account)


def _is_newer(stored: AuthState, held: AuthState) -> bool:
    """Another instance may have stored a newer token meanwhile; the later expiry counts."""
    ends = expires_at(stored.refresh_token)
    return ends is not None and ends > (expires_at(held.refresh_token) or 0.0)
