"""OpenAPI 3.1 document, made from operations, their types and the error table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from actors.http.auth.api_keys import KEY_HEADER, QUERY_KEY
from actors.http.content import JSON
from actors.http.openapi.operation import Answer, Content, Needs, Operation, Words
from actors.http.openapi.outputs import (
    RETRIEVER_IP,
    RETRIEVER_NO_RETRY,
    RETRIEVER_REASON,
    RETRIEVER_STEAM_ID,
    Error,
    Json,
    valve_components,
)
from actors.http.routes.retriever import BLOCKED, NOT_FOUND

VERSION: Final = "3.1.0"
SCHEMAS: Final = "#/components/schemas/"

SCHEMES: Final[Mapping[str, Json]] = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKeyHeader": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    "apiKeyQuery": {
        "type": "apiKey",
        "in": "query",
        "name": QUERY_KEY,
        "description": "An API key, for the routes of OpenDota's retriever. Proxies may log it.",
    },
    "adminToken": {"type": "http", "scheme": "bearer", "description": "The admin token."},
}
# An API key is required only if the service has any, so no credential may suffice.
SECURITY: Final[Mapping[Needs, list[Json]]] = {
    Needs.NOTHING: [],
    Needs.KEY: [{}, {"apiKey": []}, {"apiKeyHeader": []}],
    Needs.ANY_KEY: [{}, {"apiKey": []}, {"apiKeyHeader": []}, {"apiKeyQuery": []}],
    Needs.ADMIN: [{"adminToken": []}],
}


def _header(description: str, **schema: Any) -> Json:
    return {"description": description, "schema": schema}


HEADERS: Final[Mapping[str, Json]] = {
    "Age": _header("Seconds since the Game Coordinator's response.", type="integer", minimum=0),
    "Cache-Control": _header(
        "`max-age`: seconds, counted from the Game Coordinator's response, for which this response is "
        "fresh. `private` for clients with an API key.",
        type="string",
    ),
    "ETag": _header(
        "Of this sequence of bytes: gzip and protobuf have their own.",
        type="string",
        pattern='^"[0-9a-z-]+"$',
    ),
    "Location": _header("URL of the replay file.", type="string"),
    "Retry-After": _header(
        "Seconds until a retry makes sense; equals `retry_after` in the body.",
        type="integer",
        minimum=1,
    ),
    "X-Cache": _header(
        "HIT: the match was known. MISS: the Game Coordinator was asked.", enum=["HIT", "MISS"]
    ),
    RETRIEVER_STEAM_ID: _header(
        "SteamID64 of the account that asked the Game Coordinator; absent if none did.",
        type="string",
        pattern="^[0-9]+$",
    ),
    RETRIEVER_IP: _header("IP address from which it asked.", type="string"),
    RETRIEVER_NO_RETRY: _header(
        "A retry does not change this.", enum=[str(result) for result in (NOT_FOUND, BLOCKED)]
    ),
    RETRIEVER_REASON: _header("Reason.", enum=["not-found", "invalid", "blocked"]),
}


def document(operations: Iterable[Operation], *, version: str) -> Json:
    """Return the OpenAPI document of `operations`; `version` is the service's."""
    writer = _Writer()
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = writer.operation(operation)
    return {
        "openapi": VERSION,
        "info": {
            "title": "BotAPI",
            "version": version,
            "description": "Dota 2 match details and replay locations from a fleet of Steam accounts.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**valve_components(SCHEMAS), **dict(sorted(writer.schemas.items()))},
            "headers": dict(HEADERS),
            "securitySchemes": dict(SCHEMES),
        },
    }


class _Writer:
    """Writes operation objects and collects the schemas that they refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Json] = {}
        self._reference(Error)

    def operation(self, operation: Operation) -> Json:
        """Return an operation object."""
        words = re.findall(r"[a-z]+", operation.path)
        written: Json = {
            "operationId": operation.method.lower() + "".join(word.title() for word in words),
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.details,
        }
        if operation.parameters:
            written["parameters"] = [one.described() for one in operation.parameters]
        if body := self._content(operation.body):
            written["requestBody"] = {"required": operation.body_is_required, "content": body}
        written["security"] = SECURITY[operation.needs]
        written["responses"] = {
            str(status): self._answer(answer)
            for status, answer in (*operation.answers.items(), *_errors(operation.errors))
        }
        return written

    def _answer(self, answer: Answer) -> Json:
        written: Json = {"description": answer.summary}
        if answer.content:
            written["content"] = self._content(answer.content)
        if answer.headers:
            written["headers"] = {
                name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers
            }
        return written

    def _content(self, content: Content) -> Json:
        return {kind: {"schema": self._reference(schema)} for kind, schema in content.items()}

    def _reference(self, schema: type[BaseModel] | str | Json) -> Json:
        if isinstance(schema, dict):
            return schema
        if isinstance(schema, type):
            written = schema.model_json_schema(ref_template=SCHEMAS + "{model}")
            self.schemas |= written.pop("$defs", {}) | {schema.__name__: written}
            schema = schema.__name__
        return {"$ref": SCHEMAS + schema}


def _errors(words: Words) -> Iterator[tuple[int, Answer]]:
    """Yield the responses with error words."""
    for status, some in sorted(words.items()):
        error: Json = {
            "allOf": [
                {"$ref": f"{SCHEMAS}{Error.__name__}"},
                {"properties": {"error": {"enum": list(some)}}},
            ]
        }
        summary = " or ".join(f"`{word}`" for word in some)
        yield status, Answer(summary, {JSON: error}, headers=("Retry-After",))
