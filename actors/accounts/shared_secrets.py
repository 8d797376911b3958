"""Shared secrets of a Steam authenticator: 20 bytes in base64, hex, base32 or a key URI.

Length and alphabet distinguish the forms. A key URI (`otpauth://totp/Steam:NAME?secret=BASE32`,
`steam://BASE32`) holds base32.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

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
