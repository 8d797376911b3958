"""CM directory: ISteamDirectory over HTTP, as JSON or VDF."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any, Final

import orjson
from aiohttp import web

from sandbox.network.cm import ConnectionManager, ReservedPort
from sandbox.steam.context import Context

REALM: Final = "steamglobal"
FOREIGN_REALM: Final = "steamchina"
_CENTRES: Final = ("sgp1", "fra2", "iad1", "sto1", "lax1")
_DEFAULT_MAX: Final = 100


class Directory:
    """Serves the list of CMs.

    As in the real directory, the list has duplicates and entries of another realm. The port of these
    entries refuses connections, so that a client that does not filter by realm fails.
    """

    def __init__(self, context: Context, cms: Sequence[ConnectionManager]) -> None:
        self._context = context
        self._cms = cms
        self._foreign = ReservedPort()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes of both methods; v1 and v0001 are the same."""
        for version in ("v1", "v0001"):
            base = f"/ISteamDirectory/{{method:GetCMList|GetCMListForConnect}}/{version}"
            router.add_get(base + "/", self._on_request)
            router.add_get(base, self._on_request)

    def close(self) -> None:
        """Release the port of the foreign realm."""
        self._foreign.close()

    def endpoints(self) -> dict[str, list[str]]:
        """Return the endpoint of every CM, by type."""
        found: dict[str, list[str]] = {}
        for index, cm in enumerate(self._cms):
            found.setdefault(cm.kind, []).append(_endpoint(cm, index))
        return found

    async def _on_request(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        faults = self._context.faults
        delay_ms = faults.take("directory_delay_ms")
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        fault = faults.take("directory_status", "")
        if fault in {"500", "403"}:
            answer = web.Response(status=int(fault), text="<html>error</html>")
        elif fault == "invalid_json":
            answer = web.Response(text='{"response": {"serverlist": [', content_type=_JSON)
        elif method == "GetCMList" and "cellid" not in request.query:
            answer = web.Response(status=400, text="Required parameter 'cellid' is missing")
        else:
            lists = self._old_list if method == "GetCMList" else self._list_for_connect
            answer = _encode_response(lists(request, fault), request.query.get("format", "json"))
        answer.headers["Date"] = formatdate(self._context.now(), usegmt=True)
        self._context.journal.add(
            "directory_request",
            method=method,
            cmtype=request.query.get("cmtype"),
            status=fault or "ok",
            source=request.remote,
        )
        return answer

    def _list_for_connect(self, request: web.Request, fault: str) -> dict[str, Any]:
        if fault == "success_false":
            return {"serverlist": [], "success": False, "message": "Unavailable"}
        rows = [] if fault == "empty" else self._rows()
        for key, field in (("cmtype", "type"), ("realm", "realm")):
            wanted = request.query.get(key)
            if wanted:
                rows = [row for row in rows if row[field] == wanted]
        most = _parse_count(request.query.get("maxcount"))
        rows = _limit_per_type(sorted(rows, key=lambda row: float(row["wtd_load"])), most)
        return {"serverlist": rows, "success": True, "message": ""}

    def _old_list(self, request: web.Request, fault: str) -> dict[str, Any]:
        if fault == "success_false":
            return {"serverlist": [], "result": 2, "message": "Unavailable"}
        most = _parse_count(request.query.get("maxcount"))
        known = {} if fault == "empty" else self.endpoints()
        lists = {
            "serverlist": (known.get("netfilter", []) * 2)[:most],
            "serverlist_websockets": (known.get("websockets", []) * 2)[:most],
        }
        return {**lists, "result": 1, "message": ""}

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for index, cm in enumerate(self._cms):
            endpoint = _endpoint(cm, index)
            for copy in (0, 1):
                centre = _CENTRES[(index + copy) % len(_CENTRES)]
                rows.append(_row(endpoint, cm.kind, centre, REALM, load=20 + index + 7 * copy))
        foreign = f"127.0.0.1:{self._foreign.number}"
        kinds = sorted({cm.kind for cm in self._cms})
        # The lowest load: a client that does not filter by realm tries this entry first.
        return rows + [_row(foreign, kind, "pvgd", FOREIGN_REALM, load=1) for kind in kinds]


_JSON: Final = "application/json"


def _endpoint(cm: ConnectionManager, index: int) -> str:
    # Valve lists WebSocket CMs by DNS name and TCP CMs by address.
    host = "localhost" if cm.kind == "websockets" and index % 2 == 0 else "127.0.0.1"
    return f"{host}:{cm.port}"


def _row(endpoint: str, kind: str, centre: str, realm: str, *, load: int) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "legacy_endpoint": endpoint,
        "type": kind,
        "dc": centre,
        "realm": realm,
        "load": load,
        "wtd_load": load * 0.731 + 1.338743209838867,
    }


def _parse_count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and int(text) else _DEFAULT_MAX


def _limit_per_type(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return the first `most` entries of each type, as the real directory does."""
    kept: dict[str, int] = {}
    found = []
    for row in rows:
        kept[row["type"]] = kept.get(row["type"], 0) + 1
        if kept[row["type"]] <= most:
            found.append(row)
    return found


def _encode_response(response: dict[str, Any], form: str) -> web.Response:
    """Return a response as JSON, or for `vdf` as Valve's KeyValues text, which steam-user requests."""
    if form == "vdf":
        return web.Response(text=_vdf("response", response, depth=0), content_type="text/vdf")
    return web.Response(body=orjson.dumps({"response": response}), content_type=_JSON)


def _vdf(key: str, value: Any, *, depth: int) -> str:
    """Return a value as KeyValues: a list is an object with the keys 0, 1, ..., a bool is 1 or 0."""
    indent = "\t" * depth
    if isinstance(value, list):
        value = {str(index): one for index, one in enumerate(value)}
    if isinstance(value, dict):
        inner = "".join(_vdf(name, one, depth=depth + 1) for name, one in value.items())
        return f'{indent}"{key}"\n{indent}{{\n{inner}{indent}}}\n'
    text = str(int(value) if isinstance(value, bool) else value)
    return f'{indent}"{key}"\t\t"{text}"\n'
