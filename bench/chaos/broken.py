"""The `botapi` command without lease renewal, which the checks must detect."""

from __future__ import annotations

import math

from actors.bot.leases import LeaseRenewer
from bench.chaos.blockable import install
from supervisor.cli.main import main


async def _pretend(self: LeaseRenewer) -> bool:
    """Report a renewal without asking Redis."""
    self.fence_at = math.inf
    if self._link is not None:
        self._link.set_fence(math.inf)
    return True


if __name__ == "__main__":
    LeaseRenewer._renew = _pretend  # type: ignore[method-assign] # noqa: SLF001 - on purpose
    install()
    main()
