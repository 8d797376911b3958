"""Player queries: profile cards and former names.

They do not count against the quota of match requests; profile cards have a higher quota of their own.
"""

from __future__ import annotations

import random
from typing import Any, Final

from sandbox.gc import delivery
from sandbox.gc import messages as gc_messages
from sandbox.gc.quota import QuotaResult
from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg, GcMsg
from sandbox.protocol.envelope import Message
from sandbox.protocol.eresult import EResult
from sandbox.steam.session import Session

MOST_NAMES_ASKED: Final = 100  # per message; further ones get no answer


def on_profile_card(session: Session, body: bytes, job: int) -> None:
    """Answer with a player's card, or not at all."""
    account_id = gc_messages.PROFILE_REQUEST.decode(body).get("account_id", 0)
    outcome = _card_outcome(session)
    session.context.journal.add(
        "profile_request",
        account=session.name,
        account_id=account_id,
        outcome=outcome,
        session=session.session_id,
        source=session.connection.source,
    )
    if outcome == "answered":
        values = card(session.context.options.seed, account_id)
        answer = gc_messages.PROFILE_CARD.encode(values)
        delivery.answer(session, GcMsg.PROFILE_CARD_RESPONSE, answer, job)


def _card_outcome(session: Session) -> str:
    context, name = session.context, session.name or ""
    if not session.gc.is_welcomed:
        return "silent_no_session"
    result = context.card_quotas.spend(name, session.connection.source, context.now())
    if result is not QuotaResult.SERVED:
        return str(result)
    if context.faults.take("profile_silent", account=name):
        return "silent_fault"
    return "answered"


def on_aliases(session: Session, message: Message) -> None:
    """Answer with the former names of the players in the request."""
    asked = [row.get("steamid", 0) for row in messages.ALIASES.decode(message.body).get("ids", [])]
    faults = session.context.faults
    silent = faults.take("aliases_silent", account=session.name)
    session.context.journal.add(
        "aliases_request",
        account=session.name,
        count=len(asked),
        outcome="silent_fault" if silent else "answered",
        session=session.session_id,
    )
    if silent:
        return
    refused = faults.take("aliases_eresult", account=session.name)
    seed = session.context.options.seed
    tables = [_name_table(seed, steam_id, refused) for steam_id in asked[:MOST_NAMES_ASKED]]
    body = messages.ALIASES_RESPONSE.encode({"responses": tables})
    session.send(EMsg.PERSONA_NAME_HISTORY_RESPONSE, body, job=message.job)


def _name_table(seed: int, steam_id: int, refused: int | None) -> dict[str, object]:
    is_individual = steam_id >> 32 == FIRST_STEAM_ID >> 32
    eresult = refused or (EResult.OK if is_individual else EResult.FAIL)
    names = former_names(seed, steam_id) if eresult == EResult.OK else []
    return {"eresult": int(eresult), "steamid": steam_id, "names": names}


# --- generated answers ------------------------------------------------------------------------
FIRST_STEAM_ID: Final = 76_561_197_960_265_728  # of account id 0
_NEWEST: Final = 1_750_000_000  # unix seconds of the latest change of a name
_MOST_NAMES: Final = 10  # Steam keeps at most this number
_LONGEST_PERIOD_S: Final = 400 * 86_400
# Ten times the medal, plus stars.
_RANKS: Final = (*range(11, 16), *range(41, 46), *range(71, 76), 80)
_FIRST_WORDS: Final = ("Quiet", "Late", "Golden", "Lost", "Brave", "Río", "Zoë's", "雪")
_LAST_WORDS: Final = ("courier", "ward", "creep", "roshan", "<gg>", "mid", "сапог", "🐢")

# Cards of real players, which replace generated ones.
PINNED: Final[dict[int, dict[str, Any]]] = {
    120_269_134: {
        "badge_points": 4325,
        "rank_tier": 80,
        "leaderboard_rank": 1476,
        "is_plus_subscriber": True,
        "plus_original_start_date": 0,
        "favorite_team_packed": 0,
        "lifetime_games": 1137,
    },
}


def card(seed: int, account_id: int) -> dict[str, Any]:
    """Return the values of a player's CMsgDOTAProfileCard, always the same for one account."""
    return {
        "account_id": account_id,
        **(PINNED.get(account_id) or _generate_card(seed, account_id)),
    }


def _generate_card(seed: int, account_id: int) -> dict[str, Any]:
    rng = random.Random(f"card {seed} {account_id}")
    rank = rng.choice(_RANKS)
    values: dict[str, Any] = {
        "slots": [_slot(rng, number) for number in range(rng.randrange(4))],
        "badge_points": rng.randrange(50_000),
        "event_id": rng.randrange(40),
        "rank_tier": rank,
        "is_plus_subscriber": rng.random() < 0.3,  # noqa: PLR2004 - about one in three
        "plus_original_start_date": rng.choice((0, rng.randrange(1_520_000_000, _NEWEST))),
        "title": rng.randrange(100),
        "favorite_team_packed": rng.choice((0, rng.getrandbits(64))),
        "lifetime_games": rng.randrange(12_000),
        "event_level": rng.randrange(500),
    }
    if rank == _RANKS[-1]:
        values["leaderboard_rank"] = rng.randrange(1, 5000)
    return values


def _slot(rng: random.Random, number: int) -> dict[str, Any]:
    content = rng.choice(
        (
            {"trophy": {"trophy_id": rng.randrange(200), "trophy_score": rng.randrange(5000)}},
            {"stat": {"stat_id": rng.choice((3, 4, 5, 8, 99)), "stat_score": rng.randrange(9000)}},
            {"item": {"serialized_item": rng.randbytes(12), "item_id": rng.getrandbits(64)}},
            {"hero": {"hero_id": rng.choice((-1, rng.randrange(1, 150))), "hero_wins": 5}},
            {"emoticon": {"emoticon_id": rng.randrange(900)}},
            {"team": {"team_id": rng.randrange(10_000_000)}},
        )
    )
    return {"slot_id": number, **content}


def former_names(seed: int, steam_id: int) -> list[dict[str, Any]]:
    """Return the NameInstances of an individual, newest first."""
    rng = random.Random(f"names {seed} {steam_id}")
    since, names = _NEWEST, []
    for _ in range(rng.randrange(1, _MOST_NAMES + 1)):
        since -= rng.randrange(60, _LONGEST_PERIOD_S)
        name = f"{rng.choice(_FIRST_WORDS)} {rng.choice(_LAST_WORDS)}"
        names.append({"name_since": since, "name": name})
    return names
