"""Games played, one player per account, kicks, the free licence."""

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
    """Start or stop playing; the first session of an account that plays keeps the others out."""
    rows = messages.GAMES_PLAYED.decode(message.body).get("games_played", [])
    apps = tuple(app for row in rows[:MAX_APPS] if (app := row.get("game_id", 0) & _APP_MASK))
    name = session.name or ""
    player = session.sessions.player(name)
    was_playing, had_apps = session.is_playing, session.apps
    session.apps = apps
    session.is_playing = bool(apps) and player in (None, session)
    if DOTA not in apps or not session.is_playing:
        lose_gc(session, "stopped_playing")
    elif DOTA not in had_apps or not was_playing:
        _start_game(session)
    session.services.journal.add(
        "games_played",
        account=name,
        session=session.session_id,
        apps=list(apps),
        blocked=bool(apps) and not session.is_playing,
    )
    if (was_playing, had_apps) != (session.is_playing, apps) or not session.is_playing:
        session.sessions.tell_playing(name)


def _start_game(session: Session) -> None:
    """Connect the game to the GC: at once, or as often after a moment in which hellos are lost."""
    services, takes_s = session.services, 0.0
    if services.options.early_hellos and services.rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        takes_s = services.rng.uniform(*STARTS_WITHIN_S)
    session.gc.starts_at = asyncio.get_running_loop().time() + takes_s


def on_kick(session: Session, message: Message) -> None:
    """Throw out the account's session that plays, wherever it is."""
    messages.KICK_PLAYING.decode(message.body)
    name = session.name or ""
    player = session.sessions.player(name)
    if player is None or player is session:
        session.sessions.tell_playing(name)
        return
    session.services.journal.add(
        "play_kicked", account=name, session=player.session_id, by_session=session.session_id
    )
    player.log_off(EResult.LOGGED_IN_ELSEWHERE, "kicked")


def on_free_license(session: Session, message: Message) -> None:
    """Grant Dota 2 to an account that does not own it yet."""
    apps = messages.FREE_LICENSE.decode(message.body).get("appids", [])
    services, name = session.services, session.name or ""
    granted = DOTA in apps and name not in services.licensed
    services.journal.add(
        "license_request", account=name, session=session.session_id, apps=apps, granted=granted
    )
    values: dict[str, object] = {"eresult": EResult.OK}
    if granted:
        services.licensed.add(name)
        values |= {"granted_packageids": [post_logon.DOTA_PACKAGE], "granted_appids": [DOTA]}
    answer = messages.FREE_LICENSE_RESPONSE.encode(values)
    session.send(EMsg.REQUEST_FREE_LICENSE_RESPONSE, answer, job=message.job)
    if granted:
        session.send(EMsg.LICENSE_LIST, post_logon.licenses(session))


def lose_gc(session: Session, reason: str) -> None:
    """End the session's standing with the GC, if it has one."""
    if session.gc.close():
        session.services.journal.add(
            "gc_session_lost", account=session.name, session=session.session_id, reason=reason
        )
