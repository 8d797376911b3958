"""The OpenAPI document: complete, consistent, and in agreement with docs/api.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.http.errors import TABLE
from actors.http.openapi import admin_operations, operations
from actors.http.openapi.document import document
from actors.http.openapi.operation import Operation, add_routes, words
from actors.http.openapi.outputs import MATCH
from actors.http.routes.pages import DOCS, DOCS_FILES

API = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
OPERATIONS = [
    value
    for module in (operations, admin_operations)
    for value in vars(module).values()
    if isinstance(value, Operation)
]
DOCUMENT = document(OPERATIONS, version="1.2.3")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from references(one)


def resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_is_openapi_3_1_of_this_version() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        resolve(reference)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in described()]
    assert len(names) == len(OPERATIONS) == len(set(names))


def test_what_is_in_the_path_is_a_parameter_and_required() -> None:
    for path, _, operation in described():
        in_path = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert {one["name"] for one in in_path} == set(re.findall(r"{(\w+)}", path))
        assert all(one["required"] for one in in_path)


def test_ids_are_described_by_the_limits_that_refuse_them() -> None:
    (parameter, *_) = DOCUMENT["paths"]["/match-details"]["get"]["parameters"]
    assert parameter["name"] == "match_id"
    schema = parameter["schema"]
    assert (schema["type"], schema["minimum"]) == ("integer", 1)
    assert schema["exclusiveMaximum"] == 1_024_000_000_000


def test_every_row_of_the_error_table_is_somewhere() -> None:
    told = {
        (int(status), word)
        for *_, operation in described()
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "application/json" in response["content"]
        for word in response["content"]["application/json"]["schema"]["allOf"][1]["properties"][
            "error"
        ]["enum"]
    }
    assert set(TABLE.values()) <= told


def test_a_match_is_described_by_valves_schema_of_today() -> None:
    match = resolve(f"#/components/schemas/{MATCH}")["properties"]["match"]
    fields = resolve(match["$ref"])["properties"]
    assert fields["match_id"] == {"type": "string", "pattern": "^-?[0-9]+$"}
    assert "DOTA_GAMEMODE_BOT_CHALLENGE" in fields["game_mode"]["anyOf"][0]["enum"]
    player = resolve(fields["players"]["items"]["$ref"])["properties"]
    assert {"hero_damage_dealt", "selected_facet"} <= player.keys()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_api_md_has_every_operation_and_each_of_its_errors(operation: Operation) -> None:
    path = re.sub(r"{\w+}", r"[\\w$]+", operation.path)
    assert re.search(rf"curl.*:5000{path}\b", API), f"docs/api.md has no curl for {operation.path}"
    for word in {word for some in operation.errors.values() for word in some}:
        assert f"`{word}`" in API, f"docs/api.md does not say what {word} means"


def test_an_operation_is_served_and_described() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    class Group:
        def routes(self) -> Iterable[tuple[Operation, Handler]]:
            return [(operations.GET_MATCH, handler), (operations.POST_MATCH_DETAILS, handler)]

    app = web.Application()
    assert list(add_routes(app, Group())) == [operations.GET_MATCH, operations.POST_MATCH_DETAILS]
    served = {
        (route.method, route.resource.canonical) for route in app.router.routes() if route.resource
    }
    assert served == {
        ("GET", "/matches/{match_id}"),
        ("HEAD", "/matches/{match_id}"),
        ("POST", "/match-details"),
    }


def test_words_of_one_status_are_collected() -> None:
    assert words({404: ("a",)}, {404: ("b", "a"), 503: ("c",)}) == {404: ("a", "b"), 503: ("c",)}


@pytest.mark.parametrize("name", DOCS_FILES.values())
def test_the_page_has_nothing_inline_and_needs_no_other_host(name: str) -> None:
    text = (DOCS / name).read_text()
    assert not re.search(r"https?://|//[a-z0-9.-]+\.[a-z]{2,}|@import|\burl\(", text)
    if name.endswith(".html"):
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
