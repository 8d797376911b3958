"""EResult numbers that the sandbox sends."""

from __future__ import annotations

import enum


class EResult(enum.IntEnum):
    """Numbers as in SteamKit `eresult.steamd`."""

    OK = 1
    FAIL = 2
    INVALID_PASSWORD = 5
    LOGGED_IN_ELSEWHERE = 6
    INVALID_PROTOCOL_VERSION = 7
    INVALID_PARAM = 8
    FILE_NOT_FOUND = 9
    ACCESS_DENIED = 15
    SERVICE_UNAVAILABLE = 20
    REVOKED = 26
    EXPIRED = 27
    DUPLICATE_REQUEST = 29
    LOGON_SESSION_REPLACED = 34
    ACCOUNT_DISABLED = 43
    TRY_ANOTHER_CM = 48
    INVALID_LOGIN_AUTH_CODE = 65
    ACCOUNT_LOCKED_DOWN = 73
    RATE_LIMIT_EXCEEDED = 84
    ACCOUNT_LOGIN_DENIED_THROTTLE = 87
    TWO_FACTOR_CODE_MISMATCH = 88
    MUST_AGREE_TO_SSA = 118
