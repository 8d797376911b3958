"""Checkouts on a real Valkey against a model: answers and stored state.

Hypothesis writes what bots, operators, clients of the first BotAPI, time and a Redis that loses its last
writes do. Time passes by moving stored instants into the past. Which of several free accounts a bot gets
is the script's affair; that it gets one when there is one is not.
"""

from __future__ import annotations

import copy
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.accounts_model import Account
from support.checkouts_env import (
    DAY_MS,
    HOLDERS,
    IP,
    LEASE_S,
    NAMES,
    PAST,
    PREFIX,
    QUOTA,
    CheckoutsUnderTest,
    Snapshot,
)
from support.seed_client import SeedClient
from support.valkey import valkey_url  # noqa: F401 - a fixture

from actors.accounts.models import Lease, Refused, Reserved
from actors.errors import NoAccountFree
from actors.steam.port import AuthState

pytestmark = pytest.mark.integration

EXAMPLES = 200
STEAM_IDS = {"axe": 7, "bane": 8}

names = st.sampled_from(NAMES)
holders = st.sampled_from(HOLDERS)
whiches = st.integers(0, 1000)
flags = st.booleans()


class Checkouts(CheckoutsUnderTest):
    """What may happen."""

    # -- bots ----------------------------------------------------------------------------------

    @rule(holder=holders)
    def a_bot_checks_out(self, holder: str) -> None:
        self.check_out(holder, None)

    @rule(holder=holders, before=names)
    def a_bot_comes_back(self, holder: str, before: str) -> None:
        """It may or may not still hold the earlier account."""
        self.check_out(holder, before)

    def check_out(self, holder: str, before: str | None) -> None:
        self.model.reap()
        own = before is not None and self.is_held_by(before, holder)
        usable = [name for name, one in self.accounts if one.is_usable(QUOTA.per_account)]
        try:
            lease = self.run(self.store.acquire(holder, before=before))
        except NoAccountFree as none:
            assert not own
            assert not usable
            self.look_at_waiting(none)
        else:
            assert lease.account in ([before] if own else usable)
            self.leased(lease)
            if before is not None:
                with self.only_one_of(lease):
                    self.model.end_others(lease)

    def look_at_waiting(self, none: NoAccountFree) -> None:
        """A time is returned when waiting alone helps."""
        waiting = any(one.frees_some_day(QUOTA.per_account) for _, one in self.accounts)
        assert (none.usable_in is not None) == waiting

    @precondition(lambda self: self.issued)
    @rule(which=whiches)
    def a_lease_is_renewed(self, which: int) -> None:
        self.renew(self.any_lease(which)[0])

    @rule()
    def all_bots_renew(self) -> None:
        for lease in sorted(self.believers, key=lambda one: one.fencing_token):
            self.renew(lease)

    def renew(self, lease: Lease) -> None:
        with self.only_one_of(lease):
            may = self.model.renew(lease)
        assert self.may(self.store.renew(lease)) == may
        self.in_doubt.discard(lease)
        if may:
            self.believers.add(lease)
        else:
            self.believers.discard(lease)

    @precondition(lambda self: self.issued)
    @rule(which=whiches)
    def a_lease_is_given_back(self, which: int) -> None:
        lease, account = self.any_lease(which)
        self.run(self.store.release(lease))
        if account.is_held_with(lease.fencing_token):
            account.end_checkout()
        self.believers.discard(lease)

    @rule(of=st.sampled_from(["us/", "them/", "us/1"]))
    def a_process_ends(self, of: str) -> None:
        mine = [name for name, one in self.accounts if one.held and one.held.holder.startswith(of)]
        assert sorted(self.run(self.store.release_all(of))) == mine
        for name in mine:
            self.model.accounts[name].end_checkout()
        self.believers = {one for one in self.believers if not one.holder.startswith(of)}

    @precondition(lambda self: self.issued)
    @rule(which=whiches)
    def an_account_cools_down(self, which: int) -> None:
        lease, account = self.any_lease(which)
        held = account.is_held_with(lease.fencing_token)
        assert self.may(self.store.cool_down(lease, 600.0, "a reason")) == held
        account.is_cooling |= held

    @precondition(lambda self: self.issued)
    @rule(which=whiches, requests=st.lists(flags, min_size=1, max_size=4))
    def requests_are_reserved(self, which: int, requests: list[bool]) -> None:
        for knows_ip in requests:
            self.reserve(*self.any_lease(which), knows_ip=knows_ip)

    def reserve(self, lease: Lease, account: Account, *, knows_ip: bool) -> None:
        ip = IP if knows_ip else None
        answer = self.run(self.store.reserve(lease.account, lease.fencing_token, ip))
        if not (account.is_leased and account.is_held_with(lease.fencing_token)):
            assert answer == Refused("lease", 0)
        elif account.spent == QUOTA.per_account:
            assert isinstance(answer, Refused)
            assert answer.scope == "account"
        elif knows_ip and self.model.ip_used == QUOTA.per_ip:
            assert isinstance(answer, Refused)
            assert answer.scope == "ip"
        else:
            account.used += 1
            self.model.ip_used += knows_ip
            left_ip = QUOTA.per_ip - self.model.ip_used if knows_ip else None
            assert answer == Reserved(QUOTA.per_account - account.spent, left_ip)

    @precondition(lambda self: self.issued)
    @rule(which=whiches)
    def auth_state_is_saved(self, which: int) -> None:
        lease, account = self.any_lease(which)
        held = account.is_held_with(lease.fencing_token)
        self.saved += 1
        # By another store: one that is refused keeps the auth state and tries again.
        auth = AuthState(STEAM_IDS[lease.account.casefold()], f"token-{self.saved}", None)
        rests = account.rests
        assert self.may(self.new_store().save_auth(lease, auth)) == (held and not rests)
        if held:
            account.auth = auth.refresh_token
        if held and rests:  # an old client has its other spelling, and keeps it
            account.end_checkout()
            self.believers.discard(lease)

    # -- clients of the first BotAPI -----------------------------------------------------------

    @rule()
    def an_old_client_checks_out(self) -> None:
        first = next((name for name, one in self.accounts if one.score == 0), None)
        assert SeedClient(self.raw, PREFIX).check_out() == first
        if first is not None:
            self.model.accounts[first].score = 1

    @rule(name=names)
    def an_old_client_comes_too_late(self, name: str) -> None:
        account = self.model.accounts[name]
        if account.score is not None:  # it saw the name among the free ones
            account.score += 1
            assert SeedClient(self.raw, PREFIX).demand(name) == (account.score == 1)

    @rule(name=names, score=st.sampled_from([0, -1]))
    def an_old_client_resets(self, name: str, score: int) -> None:
        """What it had, or what it believes to have, or a second count-down by hand."""
        if self.model.accounts[name].score is not None:
            self.raw.zadd(self.key("checkouts"), {name: score})
            self.model.accounts[name].score = score

    # -- operators -----------------------------------------------------------------------------

    @initialize(added=st.lists(names, unique=True, min_size=1))
    def the_first_are_added(self, added: list[str]) -> None:
        for name in added:
            self.an_account_is_added(name)
        self.redis_saves()

    @rule(name=names)
    def an_account_is_added(self, name: str) -> None:
        stored_as = self.run(self.store.add(name, "pw"))
        account = self.model.accounts[name]
        listed = [one for one in account.twins if one.score is not None]
        if account.score is None and not account.has_password and listed:
            assert stored_as != name
            assert stored_as.casefold() == name.casefold()
            account = listed[0]
        else:
            assert stored_as == name
        account.has_password = True
        account.score = account.score or 0

    @rule(name=names, listed=flags)
    def an_account_is_removed_by_hand(self, name: str, listed: bool) -> None:  # noqa: FBT001 - hypothesis passes by keyword
        """As it was always done: its password goes, and its name, unless that is forgotten."""
        self.raw.hdel(self.key("passwords"), name)
        self.model.accounts[name].has_password = False
        if not listed:
            self.raw.zrem(self.key("checkouts"), name)
            self.model.accounts[name].score = None

    @rule(name=names, force=flags)
    def an_account_is_removed(self, name: str, force: bool) -> None:  # noqa: FBT001 - hypothesis passes by keyword
        account = self.model.accounts[name]
        exists = account.score is not None or account.has_password
        if self.is_done(
            self.admin.remove(name, force=force), exists, force or not account.is_in_use
        ):
            account.forget()
            self.doubt(name)

    @rule(name=names, force=flags)
    def an_account_is_released(self, name: str, force: bool) -> None:  # noqa: FBT001 - hypothesis passes by keyword
        account = self.model.accounts[name]
        exists = account.score is not None
        if self.is_done(
            self.admin.release(name, force=force), exists, force or not account.is_leased
        ):
            account.end_checkout()
            self.doubt(name)

    @rule(name=names)
    def an_account_is_reset(self, name: str) -> None:
        account = self.model.accounts[name]
        if self.is_done(self.admin.reset(name), account.score is not None, allowed=True):
            account.used, account.is_cooling = 0, False
            for one in account.twins:
                one.used = 0

    @rule(name=names, holder=holders)
    def a_person_takes_an_account(self, name: str, holder: str) -> None:
        account = self.model.accounts[name]
        taken: list[Lease] = []

        async def take() -> None:
            taken.append(await self.admin.checkout(name, holder, lease_s=LEASE_S))

        allowed = not account.is_in_use and not account.rests
        if self.is_done(take(), account.has_password, allowed):
            account.score = 1
            self.leased(taken[0])

    # -- time and misfortune -------------------------------------------------------------------

    @rule(name=names)
    def a_lease_lapses(self, name: str) -> None:
        """Its holder has noticed earlier, by its own clock."""
        account = self.model.accounts[name]
        if account.held is not None:
            self.raw.zadd(self.key("leases"), {name: PAST})
            account.held.is_alive = False
            self.believers = {
                one for one in self.believers if one.fencing_token != account.held.token
            }

    @rule(name=names)
    def a_cooldown_ends(self, name: str) -> None:
        self.raw.zadd(self.key("cooldowns"), {name: PAST}, xx=True)
        self.model.accounts[name].is_cooling = False

    @rule()
    def a_day_passes_for_budgets(self) -> None:
        for key in self.raw.keys(self.key("quota:*")):
            for request, at in self.raw.zrange(key, 0, -1, withscores=True):
                self.raw.zadd(key, {request: at - DAY_MS})
        self.model.ip_used = 0
        for _, account in self.accounts:
            account.used = 0

    @rule(hints=st.lists(st.sampled_from((*NAMES, "absent"))))
    def hints_are_wrong(self, hints: list[str]) -> None:
        self.raw.delete(self.key("hints"))
        if hints:
            self.raw.zadd(self.key("hints"), dict.fromkeys(hints, 0))

    @rule()
    def redis_saves(self) -> None:
        dump = {key: self.bytes.dump(key) for key in self.bytes.keys(self.key("*"))}
        self.snapshots.append(Snapshot(dump, copy.deepcopy(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(which=whiches)
    def redis_loses_what_came_after(self, which: int) -> None:
        self.raw.flushdb()
        snapshot = self.snapshots[-1 - which % len(self.snapshots)]
        for key, value in snapshot.dump.items():
            self.bytes.restore(key, 0, value)
        self.model = copy.deepcopy(snapshot.model)
        self.in_doubt |= self.believers
        while self.now_ms() <= max(self.newest_issued.values()):
            time.sleep(0)  # a Redis does not come back within a millisecond


@pytest.mark.timeout(600)  # takes ten seconds; shrinking a failure takes minutes
def test_checkouts_do_what_the_model_does(valkey_url: str) -> None:  # noqa: F811 - a fixture
    run_state_machine_as_test(
        lambda: Checkouts(valkey_url),  # type: ignore[arg-type] # any factory will do
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None),
    )
