"""Games played, one playing session per account, kicks and the free licence."""

from __future__ import annotations

import asyncio
from typing import Final

from sandbox.protocol import messages
from sandbox.protocol.emsg import DOTA, EMsg
from sandbox.protocol.envelope import Message
from sandbox.protocol.eresult import EResult
from sandbox.steam import post_logon
from sandbox.steam.session import Session

_APP_MASK: Final = 0xFFFFFF  # the low 24 bits of a game id are the app id
MAX_APPS: Final = 32
STARTS_WITHIN_S: Final = (0.5, 3.0)  # after games-played


def on_games_played(session: Session, message: Message) -> None:
    """Start or stop playing; an account's first playing session blocks its other sessions."""
    rows = messages.GAMES_PLAYED.decode(message.body).get("games_played", [])
    apps = tuple(app for row in rows[:MAX_APPS] if (app := row.get("game_id", 0) & _APP_MASK))
    name = session.name or ""
    active = session.sessions.playing_session(name)
    was_playing, had_apps = session.is_playing, session.apps
    session.apps = apps
    session.is_playing = bool(apps) and active in (None, session)
    if DOTA not in apps or not session.is_playing:
        end_gc_session(session, "stopped_playing")
    elif DOTA not in had_apps or not was_playing:
        _start_game(session)
    session.context.journal.add(
        "games_played",
        account=name,
        session=session.session_id,
        apps=list(apps),
        blocked=bool(apps) and not session.is_playing,
    )
    if (was_playing, had_apps) != (session.is_playing, apps) or not session.is_playing:
        session.sessions.send_playing_state(name)


def _start_game(session: Session) -> None:
    """Connect the game to the GC: immediately, or in half of all cases after a delay.

    GC hellos during the delay are ignored.
    """
    context, takes_s = session.context, 0.0
    if context.options.early_hellos and context.rng.random() < 0.5:  # noqa: PLR2004 - one half
        takes_s = context.rng.uniform(*STARTS_WITHIN_S)
    session.gc.starts_at = asyncio.get_running_loop().time() + takes_s


def on_kick(session: Session, message: Message) -> None:
    """Log off the account's playing session."""
    messages.KICK_PLAYING.decode(message.body)
    name = session.name or ""
    active = session.sessions.playing_session(name)
    if active is None or active is session:
        session.sessions.send_playing_state(name)
        return
    session.context.journal.add(
        "play_kicked", account=name, session=active.session_id, by_session=session.session_id
    )
    active.log_off(EResult.LOGGED_IN_ELSEWHERE, "kicked")


def on_free_license(session: Session, message: Message) -> None:
    """Grant Dota 2 to an account that does not own it."""
    apps = messages.FREE_LICENSE.decode(message.body).get("appids", [])
    context, name = session.context, session.name or ""
    granted = DOTA in apps and name not in context.licensed
    context.journal.add(
        "license_request", account=name, session=session.session_id, apps=apps, granted=granted
    )
    values: dict[str, object] = {"eresult": EResult.OK}
    if granted:
        context.licensed.add(name)
        values |= {"granted_packageids": [post_logon.DOTA_PACKAGE], "granted_appids": [DOTA]}
    answer = messages.FREE_LICENSE_RESPONSE.encode(values)
    session.send(EMsg.REQUEST_FREE_LICENSE_RESPONSE, answer, job=message.job)
    if granted:
        session.send(EMsg.LICENSE_LIST, post_logon.licenses(session))


def end_gc_session(session: Session, reason: str) -> None:
    """End the GC session, if there is one."""
    if session.gc.close():
        session.context.journal.add(
            "gc_session_lost", account=session.name, session=session.session_id, reason=reason
        )
