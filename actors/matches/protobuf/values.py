"""JSON mapping of values: one function per protobuf type.

64-bit integers become strings, enums names (or numbers without a name), bytes base64, NaN and infinities
strings, and 32-bit floats get the fewest digits (at least six) that read back as the same float.
"""

from __future__ import annotations

import base64
import ctypes
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def uint32(raw: int) -> int:
    """Keep 32 bits, as every protobuf parser does with a longer varint."""
    return raw & _MASK32


def int32(raw: int) -> int:
    """Two's complement; negative values travel as ten bytes."""
    raw &= _MASK32
    return raw - (1 << 32) if raw >> 31 else raw


def sint32(raw: int) -> int:
    """Zigzag."""
    raw &= _MASK32
    return (raw >> 1) ^ -(raw & 1)


def uint64(raw: int) -> str:
    """A string, because JSON numbers lose bits beyond 2^53."""
    return str(raw & _MASK64)


def int64(raw: int) -> str:
    """Two's complement, as a string."""
    raw &= _MASK64
    return str(raw - (1 << 64) if raw >> 63 else raw)


def sint64(raw: int) -> str:
    """Zigzag, as a string."""
    raw &= _MASK64
    return str((raw >> 1) ^ -(raw & 1))


def fixed32(raw: bytes) -> int:
    """Little endian, unsigned."""
    return int.from_bytes(raw, "little")


def sfixed32(raw: bytes) -> int:
    """Little endian, signed."""
    return int.from_bytes(raw, "little", signed=True)


def fixed64(raw: bytes) -> str:
    """Little endian, unsigned, as a string."""
    return str(int.from_bytes(raw, "little"))


def sfixed64(raw: bytes) -> str:
    """Little endian, signed, as a string."""
    return str(int.from_bytes(raw, "little", signed=True))


def float32(raw: bytes) -> float | str:
    """The shortest decimal of six to nine digits that is the same 32-bit float, as in protobuf."""
    value: float = struct.unpack("<f", raw)[0]
    if not math.isfinite(value):
        return _not_finite(value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        # struct.pack would raise for a value that rounds to infinity.
        if ctypes.c_float(short).value == value:
            return short
    return float(f"{value:.9g}")  # nine digits always suffice


def widened(raw: bytes) -> float | str:
    """A 32-bit float with the digits of the same 64-bit float, as JavaScript prints it."""
    value: float = struct.unpack("<f", raw)[0]
    return value if math.isfinite(value) else _not_finite(value)


def float64(raw: bytes) -> float | str:
    """A 64-bit float; JSON gets its shortest repr."""
    value: float = struct.unpack("<d", raw)[0]
    return value if math.isfinite(value) else _not_finite(value)


def text(raw: bytes) -> str:
    """UTF-8; other bytes become U+FFFD (players choose their names, and proto2 does not check)."""
    return raw.decode("utf-8", "replace")


def base64_text(raw: bytes) -> str:
    """Standard alphabet, padded."""
    return base64.b64encode(raw).decode("ascii")


def enum(names: Mapping[int, str]) -> Callable[[int], Any]:
    """Return a function from number to name; a number without a name stays a number."""

    def name_of(raw: int) -> str | int:
        number = int32(raw)
        return names.get(number, number)

    return name_of


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
