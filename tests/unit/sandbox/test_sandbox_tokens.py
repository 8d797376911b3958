"""JWTs, refresh tokens and TOTP codes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from steam.guard import generate_twofactor_code_for_time
from support.sandbox_client import claims_of

from sandbox.protocol import totp
from sandbox.steam import jwt, keys
from sandbox.steam.accounts import Account
from sandbox.steam.tokens import Platform, TokenRefused, Tokens

ACCOUNT = Account("abaddon", "p", account_id=7)
OTHER = Account("bane", "p", account_id=8)


@pytest.fixture(scope="module")
def key_ring(tmp_path_factory: pytest.TempPathFactory) -> keys.Keys:
    return keys.load_or_create(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def tokens(key_ring: keys.Keys) -> Tokens:
    return Tokens(key_ring, None)


def refused_with(tokens: Tokens, token: str) -> int:
    with pytest.raises(TokenRefused) as caught:
        tokens.check_refresh(token)
    return caught.value.eresult


@given(st.dictionaries(st.text(), st.integers(-(1 << 53), 1 << 53)))
def test_a_signed_token_gives_its_claims_back(claims: dict[str, int]) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    assert jwt.verify(jwt.sign(claims, key), key.public_key()) == claims


def test_a_token_of_another_key_or_with_another_body_is_refused() -> None:
    key, stranger = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    head, body, signature = jwt.sign({"sub": "1"}, key).split(".")
    forged = base64.urlsafe_b64encode(b'{"sub":"2"}').rstrip(b"=").decode()
    for token in (f"{head}.{forged}.{signature}", f"{head}.{body}", "", "a.b.c"):
        with pytest.raises(jwt.JwtError):
            jwt.verify(token, key.public_key())
    with pytest.raises(jwt.JwtError):
        jwt.verify(f"{head}.{body}.{signature}", stranger.public_key())


def test_a_refresh_token_has_the_claims_clients_look_for(tokens: Tokens) -> None:
    claims = claims_of(tokens.issue_refresh(ACCOUNT, "127.0.0.1", Platform.STEAM_CLIENT))
    assert claims["iss"] == "steam"
    assert claims["sub"] == str(76561197960265728 + 7)
    assert claims["aud"] == ["client", "web", "renew", "derive"]
    assert claims["per"] == 1
    assert isinstance(claims["exp"], int)
    assert isinstance(claims["iat"], int)
    assert 199 * 86400 < claims["exp"] - claims["iat"] < 211 * 86400


def test_only_a_steam_clients_refresh_token_is_accepted(tokens: Tokens) -> None:
    good = tokens.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT)
    assert tokens.check_refresh(good)["sub"] == str(ACCOUNT.steamid)
    mobile = tokens.issue_refresh(ACCOUNT, "ip", Platform.MOBILE_APP)
    access = tokens.issue_access(good, "ip")
    guard = tokens.issue_guard_data(ACCOUNT)
    assert [refused_with(tokens, one) for one in (mobile, access, guard, "junk")] == [5, 5, 5, 5]


def test_an_expired_token_is_27_and_a_revoked_one_15(tokens: Tokens) -> None:
    shortlived = Account("c", "p", account_id=9, token_lifetime_s=0.5)
    expired = tokens.issue_refresh(shortlived, "ip", Platform.STEAM_CLIENT)
    assert refused_with(tokens, expired) == 27
    token = tokens.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT)
    untouched = tokens.issue_refresh(OTHER, "ip", Platform.STEAM_CLIENT)
    tokens.revoke_all(ACCOUNT)
    assert refused_with(tokens, token) == 15
    tokens.check_refresh(untouched)
    tokens.check_refresh(tokens.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT))


def test_renewal_waits_for_the_last_days_and_kills_the_old_token(tokens: Tokens) -> None:
    token = tokens.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT, oat=5)
    assert tokens.renew(token, ACCOUNT, "ip", force=False) is None
    ending = Account("d", "p", account_id=11, token_lifetime_s=29 * 86400)
    old = tokens.issue_refresh(ending, "ip", Platform.STEAM_CLIENT, oat=5)
    renewed = tokens.renew(old, ending, "ip", force=False)
    assert renewed is not None
    assert claims_of(renewed)["oat"] == 5
    assert refused_with(tokens, old) == 15


def test_revocations_outlive_the_process_with_a_state_file(
    key_ring: keys.Keys, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    before = Tokens(key_ring, file)
    revoked = before.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT)
    before.revoke_all(ACCOUNT)
    good = before.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT)
    after = Tokens(key_ring, file)
    assert refused_with(after, revoked) == 15
    after.check_refresh(good)


def test_guard_data_is_good_for_its_own_account_only(tokens: Tokens) -> None:
    guard_data = tokens.issue_guard_data(ACCOUNT)
    assert tokens.accepts_guard_data(guard_data, ACCOUNT)
    assert not tokens.accepts_guard_data(guard_data, OTHER)
    assert not tokens.accepts_guard_data("junk", ACCOUNT)
    refresh = tokens.issue_refresh(ACCOUNT, "ip", Platform.STEAM_CLIENT)
    assert not tokens.accepts_guard_data(refresh, ACCOUNT)


@given(secret=st.binary(min_size=10, max_size=32), now=st.integers(0, 1 << 33))
def test_totp_codes_are_those_of_the_steam_package(secret: bytes, now: int) -> None:
    theirs = generate_twofactor_code_for_time(secret, now)
    assert totp.code(secret, now // 30) == theirs


def test_a_code_is_good_one_step_around_now() -> None:
    secret, now = b"sandbox secret", 1_800_000_000.0
    step = int(now) // 30
    for offset, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        found = totp.matching_step(secret, totp.code(secret, step + offset), now)
        assert (found == step + offset) is good
    assert totp.matching_step(secret, totp.code(secret, step).lower(), now) == step
