"""Which error replies say that Redis cannot serve, in the form of each version."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.asyncio import Redis

from actors.errors import StoreMisused, StoreUnavailable, redis_says, store_trouble
from actors.redis.batch import WRONG_SERVER
from actors.redis.client import UNABLE, redis_call

REPLIES = [
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN Hash slot not served",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOREPLICAS Not enough good replicas to write.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
]
ABOUT_THE_CALL = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command 'EVALSHA'",
    "NOPERM this user has no permissions to run the 'eval' command",
    "CROSSSLOT Keys in request don't hash to the same slot",
]
FORMS = {
    "plain": "{}",
    "script of Redis 7": "{} script: 6b1bf486c81ceb7edf3c093f4c48582e38c0e791, on @user_script:12.",
    "script of Valkey 9": "{} script: on @user_script:79",
    "script of Redis 6.2": "ERR Error running script (f_6b1b): @user_script:5: @user_script: 5: -{}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("reply", [*REPLIES, *ABOUT_THE_CALL], ids=lambda reply: reply.split()[0])
def test_a_refusal_is_named_and_nothing_of_the_reply_reaches_clients(reply: str, form: str) -> None:
    reply = form.format(reply)
    for error in (StoreUnavailable("reserve", reply), StoreMisused("reserve", reply)):
        said = store_trouble(error)
        assert said.startswith("Redis refuses")
        assert "unreachable" not in str(error) + said
        assert str(error).startswith(said)
        assert reply in str(error)  # for operators
        assert said == store_trouble(StoreMisused("reserve", reply.replace("user", "hunter2")))
    assert store_trouble(StoreUnavailable("reserve")) == "Redis is unreachable"


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *(("WRONGPASS", "password"), ("NOAUTH", "password"), ("NOPERM", "ACL")),
        *(("OOM", "memory is full"), ("WRONGTYPE", "another type"), ("READONLY", "replica")),
    ],
)
def test_a_refusal_says_what_is_wrong(word: str, meaning: str) -> None:
    said = redis_says(f"{word} of user botapi-7")
    assert said is not None
    assert meaning in said
    assert {one for one in UNABLE if redis_says(one) is None} == set()
    assert redis_says("ERR unknown command") is None


def test_every_word_has_its_reply_here() -> None:
    assert {reply.split()[0] for reply in REPLIES} == UNABLE
    assert UNABLE > WRONG_SERVER


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.split()[0])
async def test_a_server_that_cannot_serve_is_unavailable_and_says_why(
    reply: str, form: str
) -> None:
    if reply.startswith(("MOVED", "ASK")) and form != "{}":
        pytest.skip("a redirection comes before the script runs, never from inside")
    error = BaseParser.parse_error(form.format(reply))  # type: ignore[no-untyped-call]
    with pytest.raises(StoreUnavailable) as caught, redis_call(Redis(), "renew"):
        raise error
    word, text = reply.split()[:2]
    assert word in str(caught.value.reason)
    assert text.strip(".") in str(caught.value)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("reply", ABOUT_THE_CALL, ids=lambda reply: reply.split()[0])
async def test_a_reply_about_the_call_itself_is_not(reply: str, form: str) -> None:
    error = BaseParser.parse_error(form.format(reply))  # type: ignore[no-untyped-call]
    with pytest.raises(StoreMisused), redis_call(Redis(), "renew"):
        raise error
