"""Which bots leave when the fleet shrinks: those that are missed least. A pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.bot_states import BotState
from actors.messages import BotReport


def choose_leaving(
    present: Iterable[str],
    reports: Mapping[str, BotReport],
    loads: Mapping[str, int],
    number: int,
) -> list[str]:
    """Return the bots that leave, the first one first.

    First those without an account, then those that are not ready, then the ready ones with the fewest
    requests in flight; among equals those that came last.

    Args:
        present: bot ids, oldest first.
        reports: by bot id; a bot without one has not said anything yet.
        loads: requests in flight by bot id.
        number: how many leave.
    """

    def worth(bot_id: str) -> tuple[bool, bool, int]:
        report = reports.get(bot_id)
        has_account = report is not None and report.account is not None
        is_ready = report is not None and report.state is BotState.READY
        return has_account, is_ready, loads.get(bot_id, 0)

    latest_first = list(present)[::-1]
    return sorted(latest_first, key=worth)[:number]
