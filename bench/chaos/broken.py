"""A service whose leases are never renewed although it believes so: shows that the judge can say no.

Takes the place of `botapi` on the command line. Nothing in the service knows of it.
"""

from __future__ import annotations

import math

from actors.bot.renewals import LeaseRenewer
from bench.chaos.blockable import install
from supervisor.cli.main import main


async def _pretend(self: LeaseRenewer) -> bool:
    """Instead of asking Redis."""
    self._fence_at = math.inf
    if self._link is not None:
        self._link.set_fence(math.inf)
    return True


if __name__ == "__main__":
    LeaseRenewer._renew = _pretend  # type: ignore[method-assign] # noqa: SLF001 - on purpose
    install()
    main()
