"""What the silence of the GC means, instant by instant."""

from __future__ import annotations

from actors.router.unanswered import (
    APART_S,
    FORGET_S,
    IN_SERVICE_S,
    LONGEST_ASIDE_S,
    MISSED_MATCHES,
    SET_ASIDE_S,
    UnansweredTracker,
)


def set_aside_for(silence: UnansweredTracker, match_id: int, now: float) -> float | None:
    """Return for how many seconds a match is set aside; None when it is not."""
    aside = silence.aside.get(match_id)
    refusal = None if aside is None else aside.refusal(now)
    return None if refusal is None else refusal.retry_after


def test_an_account_that_misses_what_others_get_is_spent() -> None:
    silence = UnansweredTracker()
    silence.answered("b", 1, 0.0)
    assert missed("a", silence, every_s=APART_S) == ["a"]


def missed(account: str, silence: UnansweredTracker, *, every_s: float) -> list[str]:
    """Let an account miss matches that another one gets; return who is found to be spent."""
    found: list[str] = []
    for n in range(MISSED_MATCHES):
        assert not silence.silent(account, 10 + n, 1.0 + n * every_s)
        found += silence.answered("other", 10 + n, 2.0 + n * every_s)
    return found


def test_what_is_missed_at_once_is_missed_once() -> None:
    silence = UnansweredTracker()
    assert missed("a", silence, every_s=APART_S / MISSED_MATCHES) == []


def test_what_was_missed_on_a_broken_connection_says_nothing() -> None:
    silence = UnansweredTracker()
    for account in "ab":
        silence.answered(account, 1, 0.0)
    silence.silent("a", 10, 1.0)
    assert silence.silent("b", 10, 1.0)  # two that work: it is the match
    silence.silent("a", 11, 1.0)
    silence.connection_broke("a")
    assert set_aside_for(silence, 10, 1.0) is None
    assert silence._silent_on == {}
    for n in range(MISSED_MATCHES - 1):
        silence.silent("a", 20 + n, 2.0 + n * APART_S)
        assert list(silence.answered("b", 20 + n, 3.0 + n * APART_S)) == []
    silence.connection_broke("a")
    silence.silent("a", 30, 9.0)
    assert list(silence.answered("b", 30, 9.0)) == []


def test_a_match_that_others_got_first_counts_the_same() -> None:
    silence = UnansweredTracker()
    found = [
        silence.missed("a", match_id, 10.0 * match_id) for match_id in range(1, MISSED_MATCHES + 1)
    ]
    assert found == [False] * (MISSED_MATCHES - 1) + [True]


def test_what_was_missed_at_once_is_missed_once() -> None:
    silence = UnansweredTracker()
    assert not any(silence.missed("a", match_id, 1.0) for match_id in range(10))


def test_an_answer_in_between_clears_an_account() -> None:
    silence = UnansweredTracker()
    for match_id in range(10, 10 + MISSED_MATCHES - 1):
        silence.silent("a", match_id, 1.0)
        assert list(silence.answered("b", match_id, 2.0)) == []
    silence.answered("a", 50, 3.0)
    silence.silent("a", 60, 4.0)
    assert list(silence.answered("b", 60, 5.0)) == []


def test_the_same_match_counts_once() -> None:
    silence = UnansweredTracker()
    for _ in range(MISSED_MATCHES):
        silence.silent("a", 10, 1.0)
        assert list(silence.answered("b", 10, 2.0)) == []


def test_a_match_that_two_working_accounts_do_not_get_is_set_aside() -> None:
    silence = UnansweredTracker()
    silence.answered("a", 1, 0.0)
    silence.answered("b", 2, 0.0)
    assert not silence.silent("a", 10, 1.0)
    assert silence.silent("b", 10, 2.0)
    assert set_aside_for(silence, 10, 2.0) == SET_ASIDE_S
    assert set_aside_for(silence, 10, 2.0 + SET_ASIDE_S) is None
    assert set_aside_for(silence, 11, 2.0) is None


def test_a_match_that_stays_silent_is_left_alone_longer_each_time() -> None:
    silence, now, asides = UnansweredTracker(), 0.0, []
    for _ in range(8):
        for account in "ab":
            silence.answered(account, 1, now)
            silence.silent(account, 10, now)
        aside = set_aside_for(silence, 10, now)
        assert aside is not None
        asides.append(aside)
        now += aside
    assert asides[:3] == [SET_ASIDE_S, SET_ASIDE_S * 2, SET_ASIDE_S * 4]
    assert asides[-1] == LONGEST_ASIDE_S


def test_an_answer_about_it_ends_that() -> None:
    silence = UnansweredTracker()
    for account in "ab":
        silence.answered(account, 1, 0.0)
        silence.silent(account, 10, 0.0)
    silence.answered("c", 10, 1.0)
    assert set_aside_for(silence, 10, 1.0) is None


def test_who_turns_out_to_be_silent_altogether_was_no_witness() -> None:
    """What many ask for is the first that an account misses when it falls silent."""
    silence = UnansweredTracker()
    for account in "ab":
        silence.answered(account, 1, 0.0)
        silence.silent(account, 10, 1.0)
    assert set_aside_for(silence, 10, 1.0)
    silence.disregard("a")
    assert set_aside_for(silence, 10, 1.0) is None
    assert not silence.silent("a", 10, 2.0)
    assert not silence.silent("b", 10, 2.0)


def test_accounts_that_answered_nothing_lately_say_nothing_about_a_match() -> None:
    silence = UnansweredTracker()
    silence.answered("a", 1, 0.0)
    silence.answered("b", 2, 0.0)
    late = IN_SERVICE_S + 1
    assert not silence.silent("a", 10, late)
    assert not silence.silent("b", 10, late)


def test_when_every_account_is_silent_none_is_blamed() -> None:
    silence = UnansweredTracker()
    for match_id in range(100):
        for account in "abc":
            assert not silence.silent(account, match_id, 1000.0 + match_id)
    assert all(set_aside_for(silence, match_id, 1100.0) is None for match_id in range(100))


def test_old_silence_is_forgotten() -> None:
    silence = UnansweredTracker()
    for match_id in range(1000):
        silence.silent("a", match_id, 0.0)
    silence.silent("a", 5000, FORGET_S + 1)
    assert len(silence._silent_on) == 1
