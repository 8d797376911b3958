"""Trusted certificates and keys, and the errors of unusable files."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from Cryptodome.PublicKey import ECC, RSA

from actors.steam.transport.base import Trust, TrustError


def test_without_files_live_steam_is_trusted() -> None:
    trust = Trust.load(None, None)
    assert trust.universe_key.size_in_bits() == 1024
    assert trust.tls.verify_mode is ssl.CERT_REQUIRED
    assert trust.tls.check_hostname is True
    assert trust.tls.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_public_key_of_our_own_is_read(tmp_path: Path) -> None:
    key = RSA.generate(1024).public_key()  # noqa: S505 - the size that Valve's universe key has
    path = tmp_path / "key.pem"
    path.write_bytes(key.export_key())
    assert Trust.load(None, path).universe_key == key


@pytest.mark.parametrize("content", [None, b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_a_universe_key_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrustError, match=r"universe_key_file .*key\.pem"):
        Trust.load(None, path)


def test_a_universe_key_of_another_kind_or_size_is_named(tmp_path: Path) -> None:
    """Detected at load, instead of as a ValueError of every connection."""
    path = tmp_path / "key.pem"
    path.write_text(ECC.generate(curve="P-256").public_key().export_key(format="PEM"))
    with pytest.raises(TrustError):
        Trust.load(None, path)
    path.write_bytes(RSA.generate(2048).public_key().export_key())
    with pytest.raises(TrustError, match="1024"):
        Trust.load(None, path)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrustError, match=r"ca_file .*ca\.pem"):
        Trust.load(path, None)
