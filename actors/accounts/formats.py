"""Formats of account names and shared secrets: validity, canonical form, printable form.

A stored name may be any bytes that a client wrote to Redis. In a text a byte that is not UTF-8 is a
surrogate (PEP 383). Lists, logs and answers have the form that `shown` returns.

The shared secret of a Steam authenticator is 20 bytes in base64, hex, base32 or a key URI; length and
alphabet distinguish the forms. A key URI (`otpauth://totp/Steam:NAME?secret=BASE32`, `steam://BASE32`)
holds base32.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

LONGEST_NAME: Final = 64  # bytes; Steam's own limit
WHITE_SPACE: Final = " \t\n\v\f\r"  # `%s` in the scripts
NOT_STEAMS: Final = (
    "Steam has no such name: Steam's names are 1 to 64 letters, digits and signs of ASCII"
)
NEW_NAME: Final = rf"^[A-Za-z0-9_.@-]{{1,{LONGEST_NAME}}}$"
NOT_A_NEW_NAME: Final = (
    "the name is not one that Steam gives: "
    f"expected 1 to {LONGEST_NAME} letters and digits of ASCII, or _ - . @"
)
_FORM: Final = re.compile(r"[!-\[\]-~]+")  # no backslash, which begins an escape
_ESCAPE: Final = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_FIRST_RAW: Final = 0xDC00  # the surrogate of byte 0
_SURROGATES: Final = range(0xD800, 0xE000)
_RAW_BYTES: Final = range(0xDC80, 0xDD00)
_BYTE: Final = 0x100
_SHORT: Final = 0x10000

LENGTH: Final = 20  # bytes: the key of Steam's HMAC-SHA1 (maFiles, `AddAuthenticator`)
BASE64: Final = r"[A-Za-z0-9+/_-]{27}="
HEX: Final = r"[0-9A-Fa-f]{40}"
BASE32: Final = r"[A-Z2-7]{32}"
PATTERN: Final = rf"^({BASE64}|{HEX}|{BASE32})$"
NOT_ONE: Final = (
    f"the shared secret cannot be used: expected {LENGTH} bytes as base64 (28 characters, the last is "
    "=), as 40 hex digits, as 32 base32 characters or as an otpauth:// address"
)
_LONGEST_URI: Final = 1000  # characters
_FORMS: Final[Mapping[str, Callable[[str], bytes]]] = {
    BASE64: lambda text: base64.b64decode(text.replace("-", "+").replace("_", "/")),
    HEX: bytes.fromhex,
    BASE32: base64.b32decode,
}


def folded(name: str) -> str | None:
    """Return the form that all spellings of a name share; None for a name that Steam cannot have.

    Steam ignores case and surrounding white space. `fold` in lua/prelude.lua is the same rule.
    """
    bare = name.strip(WHITE_SPACE)
    if len(name.encode(errors="surrogateescape")) > LONGEST_NAME or not _FORM.fullmatch(bare):
        return None
    return bare.lower()


def steam_name(name: str) -> str:
    """Return the form of a stored name that is sent to Steam."""
    return name.strip(WHITE_SPACE)


def bad_name(name: Any) -> str | None:
    """Return what is wrong with the name of a new account, or None."""
    if not isinstance(name, str) or not name.strip():
        return "the name is missing"
    return None if re.fullmatch(NEW_NAME, name.strip()) else NOT_A_NEW_NAME


def same_account(name: str, stored_as: str) -> str:
    """Return the message for a new account that is a second spelling of a stored one."""
    return f"{name} is the same Steam account as {shown(stored_as)}, which has the new password now"


def is_text(value: str) -> bool:
    """Return whether a value from Redis is UTF-8."""
    return not any(ord(one) in _SURROGATES for one in value)


def shown(text: str) -> str:
    r"""Return a text from Redis in printable form: the byte 0xFC becomes `\xfc`."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(one) for one in text)


def stored(name: str) -> str:
    """Return the stored name that `shown` shows as `name`; a stored name stays unchanged."""
    return _ESCAPE.sub(_meant, name)


def _escaped(one: str) -> str:
    code = ord(one)
    if one == "\\":
        return "\\\\"
    if one.isprintable():
        return one
    if code in _RAW_BYTES:
        return f"\\x{code - _FIRST_RAW:02x}"
    return f"\\u{code:04x}" if code < _SHORT else f"\\U{code:08x}"


def _meant(escape: re.Match[str]) -> str:
    word = escape[1]
    if word == "\\":
        return "\\"
    code = int(word[1:], 16)
    return chr(_FIRST_RAW + code) if word[0] == "x" and code in range(0x80, _BYTE) else chr(code)


# -- shared secrets --------------------------------------------------------------------------------


def canonical(secret: str) -> str | None:
    """Return a shared secret as base64 with padding; None if `secret` has none of the forms."""
    text = secret.strip()
    if "://" in text:
        text = _of_uri(text)
    for form, decoded in _FORMS.items():
        if re.fullmatch(form, text):
            return base64.b64encode(decoded(text)).decode()
    return None


def bad_shared_secret(secret: Any) -> str | None:
    """Return what is wrong with a shared secret; None if it is valid or absent."""
    if secret is None or (isinstance(secret, str) and canonical(secret) is not None):
        return None
    return NOT_ONE


def _of_uri(text: str) -> str:
    """Return the base32 text of a key URI, or ""."""
    if len(text) > _LONGEST_URI:
        return ""
    try:
        uri = urlsplit(text)
        if uri.scheme == "steam":
            return uri.netloc.upper()
        is_key = uri.scheme == "otpauth" and uri.netloc == "totp"
        return parse_qs(uri.query).get("secret", [""])[0].upper() if is_key else ""
    except ValueError:
        return ""
