"""Keys and certificates of the simulated Steam, stored in the state directory.

Clients need the CA certificate and the public universe key; these have files of their own, which the
ready line names.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

UNIVERSE_BITS: Final = 1024  # as Valve's universe key; the handshake has a fixed size
PASSWORD_BITS: Final = 2048
_LIFETIME: Final = dt.timedelta(days=3650)
_BACKDATED: Final = dt.timedelta(days=1)  # for clients with a slow clock

KeyT = TypeVar("KeyT", bound=PrivateKeyTypes)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys, and the files for clients."""

    tokens: ed25519.Ed25519PrivateKey
    universe: rsa.RSAPrivateKey
    password: rsa.RSAPrivateKey
    ca_file: Path
    universe_key_file: Path
    tls: ssl.SSLContext
    untrusted_tls: ssl.SSLContext  # its certificate is of a CA that no client trusts


def load_or_create(state: Path) -> Keys:
    """Read the keys in `state`; create missing ones.

    Raises:
        OSError: the directory cannot be used.
        ValueError: a file is invalid.
    """
    state.mkdir(parents=True, exist_ok=True)
    universe = _key(state / "universe_key.pem", _rsa_generator(UNIVERSE_BITS))
    universe_file = state / "universe_key_public.pem"
    universe_file.write_bytes(
        universe.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    ca_file, tls = _tls(state)
    _, untrusted_tls = _tls(state / "untrusted")
    return Keys(
        tokens=_key(
            state / "token_key.pem",
            ed25519.Ed25519PrivateKey.generate,
        ),
        universe=universe,
        password=_key(state / "password_key.pem", _rsa_generator(PASSWORD_BITS)),
        ca_file=ca_file,
        universe_key_file=universe_file,
        tls=tls,
        untrusted_tls=untrusted_tls,
    )


def _rsa_generator(bits: int) -> Callable[[], rsa.RSAPrivateKey]:
    return lambda: rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _generate_ec() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _key(path: Path, make: Callable[[], KeyT]) -> KeyT:
    if path.exists():
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        # This module wrote the file; a key of another kind fails at its first use.
        return cast("KeyT", found)
    key = make()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return key


def _tls(state: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the CA's file and a server context with a certificate of that CA."""
    state.mkdir(exist_ok=True)
    ca_file, chain = state / "ca.pem", state / "server.pem"
    server_key_file = state / "server_key.pem"
    ca_key = _key(state / "ca_key.pem", _generate_ec)
    server_key = _key(server_key_file, _generate_ec)
    if not (ca_file.exists() and chain.exists()):
        ca = _certificate("Sandbox CA", ca_key, "Sandbox CA", ca_key, is_ca=True)
        server = _certificate("localhost", server_key, "Sandbox CA", ca_key, is_ca=False)
        ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        chain.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, server_key_file)
    return ca_file, context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        # Strict verifiers (Python 3.13's default) require both key identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(_usage(is_ca=is_ca), critical=True)
    )
    if not is_ca:
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
