"""Queries about players: profile cards and former names.

The quota of match requests does not touch them; cards have one of their own, far higher.
"""

from __future__ import annotations

from typing import Final

from sandbox.gc import delivery, players
from sandbox.gc import messages as gc_messages
from sandbox.gc.quota import Verdict
from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg, GcMsg
from sandbox.protocol.envelope import Message
from sandbox.protocol.eresult import EResult
from sandbox.steam.session import Session

MOST_NAMES_ASKED: Final = 100  # in one message; what is beyond is not answered


def on_profile_card(session: Session, body: bytes, job: int) -> None:
    """Answer with a player's card, or with silence."""
    account_id = gc_messages.PROFILE_REQUEST.decode(body).get("account_id", 0)
    outcome = _outcome_of_card(session)
    session.services.journal.add(
        "profile_request",
        account=session.name,
        account_id=account_id,
        outcome=outcome,
        session=session.session_id,
        source=session.link.source,
    )
    if outcome == "answered":
        card = players.card(session.services.options.seed, account_id)
        answer = gc_messages.PROFILE_CARD.encode(card)
        delivery.answer(session, GcMsg.PROFILE_CARD_RESPONSE, answer, job)


def _outcome_of_card(session: Session) -> str:
    services, name = session.services, session.name or ""
    if not session.gc.is_welcomed:
        return "silent_no_session"
    verdict = services.card_quotas.spend(name, session.link.source, services.now())
    if verdict is not Verdict.SERVED:
        return str(verdict)
    if services.faults.take("profile_silent", account=name):
        return "silent_fault"
    return "answered"


def on_aliases(session: Session, message: Message) -> None:
    """Answer with the former names of every player of the request."""
    asked = [row.get("steamid", 0) for row in messages.ALIASES.decode(message.body).get("ids", [])]
    faults = session.services.faults
    silent = faults.take("aliases_silent", account=session.name)
    session.services.journal.add(
        "aliases_request",
        account=session.name,
        count=len(asked),
        outcome="silent_fault" if silent else "answered",
        session=session.session_id,
    )
    if silent:
        return
    refused = faults.take("aliases_eresult", account=session.name)
    seed = session.services.options.seed
    tables = [_table(seed, steam_id, refused) for steam_id in asked[:MOST_NAMES_ASKED]]
    body = messages.ALIASES_RESPONSE.encode({"responses": tables})
    session.send(EMsg.PERSONA_NAME_HISTORY_RESPONSE, body, job=message.job)


def _table(seed: int, steam_id: int, refused: int | None) -> dict[str, object]:
    is_individual = steam_id >> 32 == players.FIRST_STEAM_ID >> 32
    eresult = refused or (EResult.OK if is_individual else EResult.FAIL)
    names = players.former_names(seed, steam_id) if eresult == EResult.OK else []
    return {"eresult": int(eresult), "steamid": steam_id, "names": names}
