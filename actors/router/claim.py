"""Cross-instance single flight: one instance fetches a match, the others poll Redis for it.

Redis has the match         that is the answer
no instance has a claim     this instance claims the match and renews the claim
another instance has one    look again after a pause, until Redis has the match or the claim is gone

Instances poll, as neither a lost connection nor a failover can make them miss a result then; a match
that several instances fetch at once costs a few lookups.
"""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import Charge
from actors.clock import Cancellable, Clock, Tasks
from actors.errors import AccountError, RequestStoreUnavailable, StoreMisused, store_trouble
from actors.matches.match import Known
from actors.matches.store import RENEW_EVERY_S, Claim, Locked, MatchStore

STORE_RETRY_S: Final = 2.0
LONGEST_POLL_S: Final = 0.25
GROWTH: Final = 1.5
START_S: Final = 0.03 / GROWTH  # so that the first poll is about when a quick answer comes


def store_unavailable(error: AccountError) -> RequestStoreUnavailable:
    """Return the error for a request that Redis is needed for."""
    reason = f"{store_trouble(error)}, so no budget can be counted"
    return RequestStoreUnavailable(reason, STORE_RETRY_S)


class MatchClaim:
    """The claim of one fetch on its match.

    Attributes:
        may_be_held: whether the claim was granted, or may have been.
        poll_s: when to look again where another instance has it, on average.
    """

    def __init__(
        self,
        matches: MatchStore,
        match_id: int,
        tasks: Tasks,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`tasks`: for calls of Redis that are not waited for."""
        self._matches = matches
        self._claim = Claim(match_id)
        self.may_be_held = False
        self.poll_s = START_S
        self._alarm: Cancellable | None = None  # of the next renewal; None while it is not held
        self._clock = clock
        self._log = log.bind(match_id=match_id)
        self._tasks = tasks

    async def lookup(
        self, after: int, charge: Charge | None
    ) -> Known | Locked | Claim | Reserved | Refused:
        """Look the match up, see `MatchStore.lookup`; a claim that is granted is renewed from then on.

        Raises:
            RequestStoreUnavailable: Redis is away; without it no budget can be counted either.
        """
        self.may_be_held = True  # from the moment in which it is asked for
        try:
            try:
                found = await self._matches.lookup(self._claim, after=after, charge=charge)
            except StoreMisused:
                if charge is None:
                    raise
                # Most likely a key of the account. The attempt asks for its budget separately.
                found = await self._matches.lookup(self._claim, after=after)
        except AccountError as error:
            if isinstance(error, StoreMisused):  # that Redis is away is logged once, elsewhere
                self._log.warning("match_lookup_failed", reason=str(error))
            raise store_unavailable(error) from error
        is_locked = isinstance(found, Locked)
        self.poll_s = min(self.poll_s * GROWTH, LONGEST_POLL_S) if is_locked else START_S
        is_granted = isinstance(found, Claim | Reserved | Refused)
        self.may_be_held = is_granted or (self._alarm is not None and not is_locked)
        if is_granted and self._alarm is None:
            self._renew_later()
        return found

    def publish(self, known: Known) -> None:
        """Store the result for all instances and end the claim. Does not wait."""
        self._end()
        self._tasks.start(self._publish(self._claim, known), name=f"publish-{known.match_id}")

    async def _publish(self, claim: Claim, known: Known) -> None:
        try:
            ttl_s = known.fresh_until - self._clock.wall()
            await self._matches.publish(claim, known, ttl_s=ttl_s)
        except StoreMisused as error:
            self._log.warning("match_not_stored", reason=str(error))
        except AccountError:  # it is logged once, elsewhere
            pass

    def release(self) -> None:
        """Let other instances fetch the match. Does not wait; `lookup` may claim it again."""
        if self.may_be_held:
            self._end()
            # With another token from now on, so that this release never ends a later claim.
            claim, self._claim = self._claim, Claim(self._claim.match_id)
            self._tasks.start(self._release(claim), name=f"release-{claim.match_id}")

    async def _release(self, claim: Claim) -> None:
        try:
            await self._matches.release(claim)
        except AccountError as error:  # it expires soon
            self._log.debug("claim_not_released", reason=str(error))

    def _end(self) -> None:
        self.may_be_held = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _renew_later(self) -> None:
        def renew() -> None:
            self._tasks.start(self._renew(), name=f"renew-{self._claim.match_id}")

        self._alarm = self._clock.call_at(self._clock.now() + RENEW_EVERY_S, renew)

    async def _renew(self) -> None:
        claim = self._claim
        try:
            is_held = await self._matches.renew(claim)
        except AccountError:
            is_held = True  # perhaps; Redis may be back in time
        if not is_held:
            self._log.info("claim_lost")
        elif self._alarm is not None and self._claim is claim:
            self._renew_later()
