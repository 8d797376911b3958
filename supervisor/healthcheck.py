"""Asks a running service on this machine whether it lives. Needs no curl in the image."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import Final

from supervisor.cli_options import LOOPBACK

TIMEOUT_S: Final = 3.0  # below the 5 s that the Dockerfile's HEALTHCHECK allows


def is_healthy(host: str, port: int, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether ``GET /healthz`` answers 200; an address for all interfaces means loopback."""
    # http.client, because urllib would send this through a proxy named in the environment.
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
