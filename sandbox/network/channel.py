"""Channel encryption of a TCP CM, server side.

AES-256-CBC with an IV derived from HMAC-SHA1, as in SteamKit `NetFilterEncryptionWithHMAC.cs`.
"""

from __future__ import annotations

import hmac
import os
import struct
import zlib
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from sandbox.protocol.emsg import EMsg
from sandbox.protocol.envelope import channel_message

CHALLENGE_SIZE: Final = 16
_PROTOCOL, _PUBLIC_UNIVERSE, _KEY_SIZE = 1, 1, 128
_RESPONSE: Final = struct.Struct("<IqqII128sII")
_BLOCK: Final = 16
_RANDOM: Final = 3
_OAEP: Final = padding.OAEP(
    mgf=padding.MGF1(hashes.SHA1()),  # noqa: S303 - Steam's protocol
    algorithm=hashes.SHA1(),  # noqa: S303 - as above
    label=None,
)


class ChannelError(ValueError):
    """A handshake or message is invalid; the connection must be closed."""


def request(challenge: bytes) -> bytes:
    """Build ChannelEncryptRequest, the first message to a client."""
    body = struct.pack("<II", _PROTOCOL, _PUBLIC_UNIVERSE) + challenge
    return channel_message(EMsg.CHANNEL_ENCRYPT_REQUEST, body)


def result() -> bytes:
    """Build ChannelEncryptResult with result OK."""
    return channel_message(EMsg.CHANNEL_ENCRYPT_RESULT, struct.pack("<I", 1))


def accept(response: bytes, challenge: bytes, key: rsa.RSAPrivateKey) -> Channel:
    """Verify a ChannelEncryptResponse and return the channel.

    Raises:
        ChannelError: the response is invalid.
    """
    if len(response) != _RESPONSE.size:
        raise ChannelError(f"response of {len(response)} bytes")
    emsg, _, _, protocol, size, blob, crc, trailer = _RESPONSE.unpack(response)
    if (emsg, protocol, size) != (EMsg.CHANNEL_ENCRYPT_RESPONSE, _PROTOCOL, _KEY_SIZE):
        raise ChannelError("response header")
    if crc != zlib.crc32(blob) or trailer != 0:
        raise ChannelError("response checksum")
    try:
        plain = key.decrypt(blob, _OAEP)
    except ValueError as error:
        raise ChannelError("session key cannot be read") from error
    if len(plain) != 32 + CHALLENGE_SIZE or plain[32:] != challenge:
        raise ChannelError("wrong challenge")
    return Channel(plain[:32])


class Channel:
    """Encryption with an agreed session key."""

    def __init__(self, session_key: bytes) -> None:
        self._key = algorithms.AES(session_key)
        self._hmac_key = session_key[:16]
        # Steam encrypts the IV as one block of ECB.
        self._iv = Cipher(self._key, modes.ECB())  # noqa: S305 - as above

    def encrypt(self, plain: bytes) -> bytes:
        """Return one encrypted message."""
        random = os.urandom(_RANDOM)
        iv = hmac.digest(self._hmac_key, random + plain, "sha1")[: _BLOCK - _RANDOM] + random
        padder = PKCS7(_BLOCK * 8).padder()
        padded = padder.update(plain) + padder.finalize()
        body = Cipher(self._key, modes.CBC(iv)).encryptor()
        head = self._iv.encryptor()
        return head.update(iv) + body.update(padded) + body.finalize()

    def decrypt(self, data: bytes) -> bytes:
        """Return one decrypted message.

        Raises:
            ChannelError: the padding or the HMAC is wrong.
        """
        if len(data) < 2 * _BLOCK or len(data) % _BLOCK:
            raise ChannelError("not whole blocks")
        iv = self._iv.decryptor().update(data[:_BLOCK])
        body = Cipher(self._key, modes.CBC(iv)).decryptor()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        try:
            plain = unpadder.update(body.update(data[_BLOCK:]) + body.finalize())
            plain += unpadder.finalize()
        except ValueError as error:
            raise ChannelError("padding") from error
        random = iv[-_RANDOM:]
        wanted = hmac.digest(self._hmac_key, random + plain, "sha1")[: _BLOCK - _RANDOM]
        if not hmac.compare_digest(wanted, iv[:-_RANDOM]):
            raise ChannelError("wrong HMAC")
        return plain
