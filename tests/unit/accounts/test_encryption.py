"""Encryption of stored secrets: the newest key encrypts, all decrypt, values cannot be moved."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.accounts.encryption import MARK, Encryption, parse_keys
from actors.errors import CannotDecrypt
from supervisor.app.secrets import take_secret_key
from supervisor.config.errors import ConfigError

OLD, NEW = b"o" * 32, b"n" * 32


@given(st.text(), st.text(), st.text())
def test_an_encrypted_value_is_decrypted(kind: str, account: str, plain: str) -> None:
    encryption = Encryption([NEW])
    sealed = encryption.encrypt(kind, account, plain)
    assert sealed.startswith(MARK)
    assert encryption.decrypt(kind, account, sealed) == plain


def test_encryption_reveals_nothing_and_never_repeats() -> None:
    encryption = Encryption([NEW])
    sealed = {encryption.encrypt("password", "axe", "hunter2") for _ in range(10)}
    assert len(sealed) == 10
    assert not any("hunter2" in one for one in sealed)


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    by_old = Encryption([OLD]).encrypt("password", "axe", "pw")
    both = Encryption([NEW, OLD])
    assert both.decrypt("password", "axe", by_old) == "pw"
    by_new = both.encrypt("password", "axe", "pw")
    assert Encryption([NEW]).decrypt("password", "axe", by_new) == "pw"
    with pytest.raises(CannotDecrypt):
        Encryption([OLD]).decrypt("password", "axe", by_new)


def test_without_a_key_values_are_plain_and_encrypted_ones_unreadable() -> None:
    encryption = Encryption()
    assert not encryption.has_key
    assert encryption.encrypt("password", "axe", "pw") == "pw"
    with pytest.raises(CannotDecrypt, match="BOTAPI_SECRET_KEY"):
        encryption.decrypt("password", "axe", Encryption([NEW]).encrypt("password", "axe", "pw"))


def test_plain_values_are_read_with_a_key_too() -> None:
    assert Encryption([NEW]).decrypt("password", "axe", "plain") == "plain"


@pytest.mark.parametrize(("kind", "account"), [("password", "bane"), ("auth state", "axe")])
def test_an_encrypted_value_cannot_be_moved(kind: str, account: str) -> None:
    encryption = Encryption([NEW])
    sealed = encryption.encrypt("password", "axe", "pw")
    with pytest.raises(CannotDecrypt):
        encryption.decrypt(kind, account, sealed)


@pytest.mark.parametrize("damage", ["", "!", "AAAA", "A" * 60])
def test_a_damaged_value_is_reported(damage: str) -> None:
    encryption = Encryption([NEW])
    front = encryption.encrypt("password", "axe", "pw").rsplit(":", 1)[0]
    with pytest.raises(CannotDecrypt):
        encryption.decrypt("password", "axe", f"{front}:{damage}")


def test_keys_are_read_in_both_alphabets_with_any_separator() -> None:
    key = bytes([0xFB] * 32)
    plain, urlsafe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    assert plain != urlsafe
    assert parse_keys(f" {plain}, {urlsafe}\n") == (key, key)
    assert parse_keys("") == ()


@pytest.mark.parametrize("text", ["short", "A" * 44, base64.b64encode(b"x" * 31).decode(), "päss"])
def test_an_invalid_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"key 1 is not base64 of 32 bytes") as refused:
        parse_keys(text)
    assert text not in str(refused.value)


def test_the_key_is_taken_out_of_the_environment(tmp_path: Path) -> None:
    environ = {"BOTAPI_SECRET_KEY": "abc", "HOME": "x"}
    key = take_secret_key(environ)
    assert (key.text, environ) == ("abc", {"HOME": "x"})
    assert "abc" not in repr(key)
    file = tmp_path / "key"
    file.write_text("def\n")
    environ = {"BOTAPI_SECRET_KEY_FILE": str(file)}
    assert take_secret_key(environ).text == "def\n"
    assert environ == {}


def test_two_keys_in_two_places_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both set"):
        take_secret_key({"BOTAPI_SECRET_KEY": "a", "BOTAPI_SECRET_KEY_FILE": "b"})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        take_secret_key({"BOTAPI_SECRET_KEY_FILE": str(tmp_path / "none")})
