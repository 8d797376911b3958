"""Message types of Steam.

Numbers and names: node-steam-user's and SteamKit's `steammessages_*.proto`.
"""

from __future__ import annotations

from typing import Final

from sandbox.protocol.wire import MessageType, field

HEADER: Final = MessageType(
    "CMsgProtoBufHeader",
    field(1, "steamid", "fixed64"),
    field(2, "client_sessionid", "int32"),
    field(3, "routing_appid", "uint32"),
    field(10, "jobid_source", "fixed64"),
    field(11, "jobid_target", "fixed64"),
    field(12, "target_job_name", "string"),
    field(13, "eresult", "int32"),
    field(14, "error_message", "string"),
    field(32, "realm", "uint32"),
)
MULTI: Final = MessageType(
    "CMsgMulti", field(1, "size_unzipped", "uint32"), field(2, "message_body", "bytes")
)
HELLO: Final = MessageType("CMsgClientHello", field(1, "protocol_version", "uint32"))
HEARTBEAT: Final = MessageType("CMsgClientHeartBeat", field(1, "send_reply", "bool"))
LOGGED_OFF: Final = MessageType("CMsgClientLoggedOff", field(1, "eresult", "int32"))
IP_ADDRESS: Final = MessageType("CMsgIPAddress", field(1, "v4", "fixed32"), field(2, "v6", "bytes"))

# --- Authentication.* -------------------------------------------------------------------------
RSA_KEY_REQUEST: Final = MessageType(
    "CAuthentication_GetPasswordRSAPublicKey_Request", field(1, "account_name", "string")
)
RSA_KEY_RESPONSE: Final = MessageType(
    "CAuthentication_GetPasswordRSAPublicKey_Response",
    field(1, "publickey_mod", "string"),
    field(2, "publickey_exp", "string"),
    field(3, "timestamp", "uint64"),
)
DEVICE_DETAILS: Final = MessageType(
    "CAuthentication_DeviceDetails",
    field(1, "device_friendly_name", "string"),
    field(2, "platform_type", "enum"),
    field(3, "os_type", "int32"),
    field(4, "gaming_device_type", "uint32"),
    field(6, "machine_id", "bytes"),
)
BEGIN_REQUEST: Final = MessageType(
    "CAuthentication_BeginAuthSessionViaCredentials_Request",
    field(1, "device_friendly_name", "string"),
    field(2, "account_name", "string"),
    field(3, "encrypted_password", "string"),
    field(4, "encryption_timestamp", "uint64"),
    field(5, "remember_login", "bool"),
    field(6, "platform_type", "enum"),
    field(7, "persistence", "enum"),
    field(8, "website_id", "string"),
    field(9, "device_details", DEVICE_DETAILS),
    field(10, "guard_data", "string"),
)
CONFIRMATION: Final = MessageType(
    "CAuthentication_AllowedConfirmation",
    field(1, "confirmation_type", "enum"),
    field(2, "associated_message", "string"),
)
BEGIN_RESPONSE: Final = MessageType(
    "CAuthentication_BeginAuthSessionViaCredentials_Response",
    field(1, "client_id", "uint64"),
    field(2, "request_id", "bytes"),
    field(3, "interval", "float"),
    field(4, "allowed_confirmations", CONFIRMATION, repeated=True),
    field(5, "steamid", "uint64"),
    field(6, "weak_token", "string"),
    field(7, "agreement_session_url", "string"),
    field(8, "extended_error_message", "string"),
)
UPDATE_REQUEST: Final = MessageType(
    "CAuthentication_UpdateAuthSessionWithSteamGuardCode_Request",
    field(1, "client_id", "uint64"),
    field(2, "steamid", "fixed64"),
    field(3, "code", "string"),
    field(4, "code_type", "enum"),
)
POLL_REQUEST: Final = MessageType(
    "CAuthentication_PollAuthSessionStatus_Request",
    field(1, "client_id", "uint64"),
    field(2, "request_id", "bytes"),
    field(3, "token_to_revoke", "fixed64"),
)
POLL_RESPONSE: Final = MessageType(
    "CAuthentication_PollAuthSessionStatus_Response",
    field(1, "new_client_id", "uint64"),
    field(3, "refresh_token", "string"),
    field(4, "access_token", "string"),
    field(5, "had_remote_interaction", "bool"),
    field(6, "account_name", "string"),
    field(7, "new_guard_data", "string"),
)
RENEW_REQUEST: Final = MessageType(
    "CAuthentication_AccessToken_GenerateForApp_Request",
    field(1, "refresh_token", "string"),
    field(2, "steamid", "fixed64"),
    field(3, "renewal_type", "enum"),
)
RENEW_RESPONSE: Final = MessageType(
    "CAuthentication_AccessToken_GenerateForApp_Response",
    field(1, "access_token", "string"),
    field(2, "refresh_token", "string"),
)

# --- Logon ------------------------------------------------------------------------------------
LOGON: Final = MessageType(
    "CMsgClientLogon",
    field(1, "protocol_version", "uint32"),
    field(3, "cell_id", "uint32"),
    field(6, "client_language", "string"),
    field(11, "obfuscated_private_ip", IP_ADDRESS),
    field(30, "machine_id", "bytes"),
    field(50, "account_name", "string"),
    field(51, "password", "string"),
    field(60, "login_key", "string"),
    field(84, "auth_code", "string"),
    field(100, "client_instance_id", "uint64"),
    field(101, "two_factor_code", "string"),
    field(102, "supports_rate_limit_response", "bool"),
    field(108, "access_token", "string"),
)
LOGON_RESPONSE: Final = MessageType(
    "CMsgClientLogonResponse",
    field(1, "eresult", "int32"),
    field(2, "legacy_out_of_game_heartbeat_seconds", "int32"),
    field(3, "heartbeat_seconds", "int32"),
    field(5, "rtime32_server_time", "fixed32"),
    field(6, "account_flags", "uint32"),
    field(7, "cell_id", "uint32"),
    field(8, "email_domain", "string"),
    field(10, "eresult_extended", "int32"),
    field(14, "vanity_url", "string"),
    field(15, "public_ip", IP_ADDRESS),
    field(16, "user_country", "string"),
    field(20, "client_supplied_steamid", "fixed64"),
    field(21, "ip_country_code", "string"),
    field(24, "count_loginfailures_to_migrate", "int32"),
    field(25, "count_disconnects_to_migrate", "int32"),
    field(27, "client_instance_id", "uint64"),
    field(29, "agreement_session_url", "string"),
    field(30, "token_id", "uint64"),
)

# --- After logon ------------------------------------------------------------------------------
SERVER_TYPE: Final = MessageType(
    "Server_Types_Available", field(1, "server", "uint32"), field(2, "changed", "bool")
)
SERVERS_AVAILABLE: Final = MessageType(
    "CMsgClientServersAvailable",
    field(1, "server_types_available", SERVER_TYPE, repeated=True),
    field(2, "server_type_for_auth_services", "uint32"),
)
ACCOUNT_INFO: Final = MessageType(
    "CMsgClientAccountInfo",
    field(1, "persona_name", "string"),
    field(2, "ip_country", "string"),
    field(5, "count_authed_computers", "int32"),
    field(7, "account_flags", "uint32"),
    field(17, "two_factor_state", "uint32"),
)
EMAIL_INFO: Final = MessageType(
    "CMsgClientEmailAddrInfo",
    field(1, "email_address", "string"),
    field(2, "email_is_validated", "bool"),
)
FRIEND: Final = MessageType(
    "Friend", field(1, "ulfriendid", "fixed64"), field(2, "efriendrelationship", "uint32")
)
FRIENDS_LIST: Final = MessageType(
    "CMsgClientFriendsList",
    field(1, "bincremental", "bool"),
    field(2, "friends", FRIEND, repeated=True),
    field(3, "max_friend_count", "uint32"),
)
EMPTY_LIST: Final = MessageType(
    "CMsgClientFriendsGroupsList", field(1, "bremoval", "bool"), field(2, "bincremental", "bool")
)
LICENSE: Final = MessageType(
    "License",
    field(1, "package_id", "uint32"),
    field(2, "time_created", "fixed32"),
    field(4, "minute_limit", "int32"),
    field(6, "payment_method", "uint32"),
    field(7, "flags", "uint32"),
    field(8, "purchase_country_code", "string"),
    field(9, "license_type", "uint32"),
    field(11, "change_number", "int32"),
    field(12, "owner_id", "uint32"),
)
LICENSE_LIST: Final = MessageType(
    "CMsgClientLicenseList",
    field(1, "eresult", "int32"),
    field(2, "licenses", LICENSE, repeated=True),
)
WALLET_INFO: Final = MessageType(
    "CMsgClientWalletInfoUpdate", field(1, "has_wallet", "bool"), field(7, "realm", "int32")
)
CONNECT_TOKENS: Final = MessageType(
    "CMsgClientGameConnectTokens",
    field(1, "max_tokens_to_keep", "uint32"),
    field(2, "tokens", "bytes", repeated=True),
)
SESSION_TOKEN: Final = MessageType("CMsgClientSessionToken", field(1, "token", "uint64"))
LIMITED_ACCOUNT: Final = MessageType(
    "CMsgClientIsLimitedAccount",
    field(1, "bis_limited_account", "bool"),
    field(2, "bis_community_banned", "bool"),
    field(3, "bis_locked_account", "bool"),
    field(4, "bis_limited_account_allowed_to_invite_friends", "bool"),
)
CLIENT_STAT: Final = MessageType(
    "StatsToSend", field(1, "client_stat", "uint32"), field(2, "stat_aggregate_method", "uint32")
)
REQUESTED_STATS: Final = MessageType(
    "CMsgClientRequestedClientStats", field(1, "stats_to_send", CLIENT_STAT, repeated=True)
)
PERSONA: Final = MessageType(
    "Friend",
    field(1, "friendid", "fixed64"),
    field(2, "persona_state", "uint32"),
    field(3, "game_played_app_id", "uint32"),
    field(15, "player_name", "string"),
    field(31, "avatar_hash", "bytes"),
)
PERSONA_STATE: Final = MessageType(
    "CMsgClientPersonaState",
    field(1, "status_flags", "uint32"),
    field(2, "friends", PERSONA, repeated=True),
)
PLAYING_STATE: Final = MessageType(
    "CMsgClientPlayingSessionState",
    field(2, "playing_blocked", "bool"),
    field(3, "playing_app", "uint32"),
)
GAME_PLAYED: Final = MessageType("GamePlayed", field(2, "game_id", "fixed64"))
GAMES_PLAYED: Final = MessageType(
    "CMsgClientGamesPlayed",
    field(1, "games_played", GAME_PLAYED, repeated=True),
    field(2, "client_os_type", "uint32"),
)
KICK_PLAYING: Final = MessageType(
    "CMsgClientKickPlayingSession", field(1, "only_stop_game", "bool")
)
FREE_LICENSE: Final = MessageType(
    "CMsgClientRequestFreeLicense", field(2, "appids", "uint32", repeated=True)
)
FREE_LICENSE_RESPONSE: Final = MessageType(
    "CMsgClientRequestFreeLicenseResponse",
    field(1, "eresult", "uint32"),
    field(2, "granted_packageids", "uint32", repeated=True),
    field(3, "granted_appids", "uint32", repeated=True),
)
SERVER_TIMESTAMP: Final = MessageType(
    "CMsgClientServerTimestampRequest", field(1, "client_request_timestamp", "uint64")
)
SERVER_TIMESTAMP_RESPONSE: Final = MessageType(
    "CMsgClientServerTimestampResponse",
    field(1, "client_request_timestamp", "uint64"),
    field(2, "server_timestamp_ms", "uint64"),
)
ALIAS_ID: Final = MessageType("IdInstance", field(1, "steamid", "fixed64"))
ALIASES: Final = MessageType(
    "CMsgClientAMGetPersonaNameHistory",
    field(1, "id_count", "int32"),
    field(2, "ids", ALIAS_ID, repeated=True),
)
ALIAS: Final = MessageType(
    "NameInstance", field(1, "name_since", "fixed32"), field(2, "name", "string")
)
ALIAS_TABLE: Final = MessageType(
    "NameTableInstance",
    field(1, "eresult", "int32"),
    field(2, "steamid", "fixed64"),
    field(3, "names", ALIAS, repeated=True),
)
ALIASES_RESPONSE: Final = MessageType(
    "CMsgClientAMGetPersonaNameHistoryResponse", field(2, "responses", ALIAS_TABLE, repeated=True)
)
