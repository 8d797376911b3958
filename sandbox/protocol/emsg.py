"""Message numbers of Steam and of the Dota 2 Game Coordinator.

Sources: SteamKit `Resources/SteamLanguage/emsg.steamd`, odota/core `proto/*.proto`.
"""

from __future__ import annotations

import enum
from typing import Final

PROTO_BIT: Final = 0x80000000
DOTA: Final = 570
# Numbers that clients must ignore (the first is ClientFeatureGroupInfo).
UNKNOWN_EMSGS: Final = (9808, 65000)


class EMsg(enum.IntEnum):
    """Steam messages that the sandbox reads or writes."""

    MULTI = 1
    SERVICE_METHOD = 146
    SERVICE_METHOD_RESPONSE = 147
    SERVICE_METHOD_CALL = 151
    HEARTBEAT = 703
    LOG_OFF = 706
    CHANGE_STATUS = 716
    GAMES_PLAYED = 742
    LOGON_RESPONSE = 751
    LOGGED_OFF = 757
    PERSONA_STATE = 766
    FRIENDS_LIST = 767
    ACCOUNT_INFO = 768
    GAME_CONNECT_TOKENS = 779
    LICENSE_LIST = 780
    VAC_BAN_STATUS = 782
    GUEST_PASSES = 798
    SESSION_TOKEN = 850
    CHANNEL_ENCRYPT_REQUEST = 1303
    CHANNEL_ENCRYPT_RESPONSE = 1304
    CHANNEL_ENCRYPT_RESULT = 1305
    GAMES_PLAYED_WITH_DATA_BLOB = 5410
    IS_LIMITED_ACCOUNT = 5430
    TO_GC = 5452
    FROM_GC = 5453
    EMAIL_INFO = 5456
    REQUESTED_STATS = 5480
    SERVER_UNAVAILABLE = 5500
    SERVERS_AVAILABLE = 5501
    LOGON = 5514
    WALLET_INFO = 5528
    FRIENDS_GROUPS = 5553
    PERSONA_NAME_HISTORY = 5570
    PERSONA_NAME_HISTORY_RESPONSE = 5571
    REQUEST_FREE_LICENSE = 5572
    REQUEST_FREE_LICENSE_RESPONSE = 5573
    NICKNAMES = 5587
    PLAYING_SESSION_STATE = 9600
    KICK_PLAYING_SESSION = 9601
    SERVER_TIMESTAMP = 9802
    SERVER_TIMESTAMP_RESPONSE = 9803
    SERVICE_METHOD_CALL_NON_AUTHED = 9804
    HELLO = 9805


class GcMsg(enum.IntEnum):
    """GC messages that the sandbox reads or writes."""

    PING_REQUEST = 3001
    PING_RESPONSE = 3002
    COMPRESSED = 3005
    REQUEST_DROPPED = 3006
    WELCOME = 4004
    HELLO = 4006
    CONNECTION_STATUS = 4009
    MATCH_DETAILS = 7095
    MATCH_DETAILS_RESPONSE = 7096
    PROFILE_CARD = 7534
    PROFILE_CARD_RESPONSE = 7535


class GcStatus(enum.IntEnum):
    """Status values of ConnectionStatus (4009)."""

    HAVE_SESSION = 0
    GC_GOING_DOWN = 1
    NO_SESSION = 2
    IN_LOGON_QUEUE = 3
    NO_STEAM = 4
    SUSPENDED = 5
    STEAM_GOING_DOWN = 6
