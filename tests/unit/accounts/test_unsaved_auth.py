"""UnsavedAuth: auth state that Redis does not have yet, or has lost."""

from __future__ import annotations

import base64
import json

from actors.accounts.credentials import UnsavedAuth
from actors.steam.port import AuthState


def auth(exp: int) -> AuthState:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return AuthState(7, f"h.{claims}.s", None)


OLD, NEW = auth(100), auth(200)


def test_received_auth_state_is_kept_until_it_is_stored() -> None:
    known = UnsavedAuth()
    known.received("axe", NEW)
    assert known.unsaved("axe") == NEW
    known.release("axe")
    assert known.unsaved("axe") == NEW
    known.mark_stored("axe", NEW)
    assert known.unsaved("axe") is None


def test_storing_an_older_state_does_not_mark_the_newer_one() -> None:
    known = UnsavedAuth()
    known.received("axe", NEW)
    known.mark_stored("axe", OLD)
    assert known.unsaved("axe") == NEW


def test_what_redis_has_replaces_what_was_known_to_be_stored() -> None:
    """Another instance held the account meanwhile; the service must not overwrite what it stored."""
    known = UnsavedAuth()
    known.mark_stored("axe", NEW)
    known.mark_stored("axe", OLD)
    known.mark_lost("axe")
    assert known.unsaved("axe") == OLD


def test_auth_state_that_redis_may_have_lost_is_stored_again_while_leased() -> None:
    known = UnsavedAuth()
    known.mark_stored("axe", NEW)
    known.mark_lost("axe")
    assert known.unsaved("axe") == NEW


def test_stored_auth_state_is_forgotten_after_the_lease() -> None:
    """The next instance that holds the account may change it, and so may the owner of the account."""
    known = UnsavedAuth()
    known.mark_stored("axe", NEW)
    known.release("axe")
    known.mark_lost("axe")
    assert known.unsaved("axe") is None


def test_of_two_states_the_one_that_expires_later_counts() -> None:
    known = UnsavedAuth()
    known.received("axe", OLD)
    assert known.unsaved("axe", NEW) is None
    assert known.unsaved("axe") is None
    known.received("axe", NEW)
    assert known.unsaved("axe", OLD) == NEW
    assert known.unsaved("axe", AuthState(7, "", "guard")) == NEW


def test_a_state_that_steam_refused_is_forgotten() -> None:
    known = UnsavedAuth()
    known.received("axe", NEW)
    known.forget("axe")
    assert known.unsaved("axe") is None
