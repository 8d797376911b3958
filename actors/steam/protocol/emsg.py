"""Steam and GC message numbers, and the values that several messages share.

Plain numbers: the library's enum has the numbers of 2022 and raises on any other, which inside a Multi
would also lose the other messages.
"""

from __future__ import annotations

from typing import Final

PROTO_BIT: Final = 0x80000000

MULTI: Final = 1
SERVICE_METHOD_RESPONSE: Final = 147
SERVICE_METHOD_CALL: Final = 151
CLIENT_HEARTBEAT: Final = 703
CLIENT_LOG_OFF: Final = 706
CLIENT_LOG_ON_RESPONSE: Final = 751
CLIENT_LOGGED_OFF: Final = 757
CHANNEL_ENCRYPT_REQUEST: Final = 1303
CHANNEL_ENCRYPT_RESPONSE: Final = 1304
CHANNEL_ENCRYPT_RESULT: Final = 1305
CLIENT_GAMES_PLAYED: Final = 5410  # ...WithDataBlob; what node-steam-user and ASF send
CLIENT_TO_GC: Final = 5452
CLIENT_FROM_GC: Final = 5453
CLIENT_SERVER_UNAVAILABLE: Final = 5500
CLIENT_LOG_ON: Final = 5514
CLIENT_GET_PERSONA_NAME_HISTORY: Final = 5570  # ClientAMGetPersonaNameHistory
CLIENT_PERSONA_NAME_HISTORY_RESPONSE: Final = 5571
CLIENT_REQUEST_FREE_LICENSE: Final = 5572
CLIENT_PLAYING_SESSION_STATE: Final = 9600
SERVICE_METHOD_CALL_NON_AUTHED: Final = 9804
CLIENT_HELLO: Final = 9805

DOTA: Final = 570  # the app

GC_PING_REQUEST: Final = 3001
GC_PING_RESPONSE: Final = 3002
GC_COMPRESSED: Final = 3005  # CompressedMsgToClient
GC_REQUEST_DROPPED: Final = 3006
GC_CLIENT_WELCOME: Final = 4004
GC_CLIENT_HELLO: Final = 4006
GC_CONNECTION_STATUS: Final = 4009
GC_MATCH_DETAILS_REQUEST: Final = 7095
GC_MATCH_DETAILS_RESPONSE: Final = 7096
GC_PROFILE_CARD_REQUEST: Final = 7534  # ClientToGCGetProfileCard
GC_PROFILE_CARD_RESPONSE: Final = 7535

OK: Final = 1  # EResult
LINUX: Final = -203  # EOSType
