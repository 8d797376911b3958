"""A stock client, `steam` 1.4.4 from PyPI, as a program: one log-on over TCP.

Arguments: the CM's host:port, the file of the universe key, a SteamID64; the refresh token is read from
stdin. Prints the result in the log-on answer, or "none" without an answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from Cryptodome.PublicKey import RSA
from steam.client import SteamClient
from steam.core import crypto
from steam.core.msg import MsgProto
from steam.enums.emsg import EMsg

ANSWER_S = 5


def main(endpoint: str, universe_key: str, steam_id: str) -> None:
    """Log on and print the result."""
    crypto.UniverseKey.Public = RSA.import_key(Path(universe_key).read_bytes())
    client = SteamClient()
    client.auto_discovery = False
    host, port = endpoint.split(":")
    client.cm_servers.merge_list([(host, int(port))])
    if not client.connect(retry=1) or client.wait_event("channel_secured", ANSWER_S) is None:
        sys.exit("not connected")
    request = MsgProto(EMsg.ClientLogon)
    request.header.steamid = int(steam_id)
    request.body.protocol_version = 65580
    request.body.access_token = sys.stdin.read().strip()
    client.send(request)
    answered = client.wait_event(EMsg.ClientLogOnResponse, timeout=ANSWER_S)
    sys.stdout.write("none" if answered is None else str(int(answered[0].body.eresult)))
    client.disconnect()


if __name__ == "__main__":
    main(*sys.argv[1:])
