"""Who may import whom, read from the source with `ast`; nothing is imported to find out.

Arrows point down: cli and tree see both halves, the halves do not see each other, and the parts of
`actors` that talk to Redis, to Steam and about matches know neither the bots nor the router.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("supervisor", "actors", "sandbox")
SEES_BOTH_HALVES: Final = {
    "supervisor.tree",
    "supervisor.bot_specs",
    "supervisor.departures",
    "supervisor.first_steps",
    "supervisor.fleet",
    "supervisor.fleet_desk",
    "supervisor.ground",
    "supervisor.operators",
    "supervisor.policies",
    "supervisor.reconfigure",
    "supervisor.steam_side",
    "supervisor.admin_desk",
    "supervisor.front_door",
    "supervisor.metering",
    "supervisor.stores",
    "supervisor.secret_key",
    "supervisor.settings",
    "supervisor.live_keys",
    "supervisor.cli_accounts",
    "supervisor.cli_keys",
    "supervisor.account_desk",
    "supervisor.accounts_table",
    "supervisor.cli_login",
    "supervisor.replay_download",
    "supervisor.replay_fetch",
}
LOWER_PARTS: Final = ("actors.accounts", "actors.matches", "actors.replays", "actors.steam")
# What the lower parts stand on, beside one another.
GROUND: Final = ("actors.clock", "actors.errors", "actors.redis_client")
GENERIC: Final = ("child", "clock", "restart", "supervisor", "ward")  # files of supervisor/
WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its dotted name, its text, and the dotted names that it imports."""

    name: str
    text: str
    imports: frozenset[str]

    def uses(self, *parts: str) -> list[str]:
        """Return which imports are one of `parts` or inside one, in order."""
        return sorted(name for name in self.imports if is_within(name, *parts))


def violations(root: Path) -> list[str]:
    """Return one line for each arrow, cycle or word that should not be there."""
    modules = list(read_modules(root))
    return [
        *foreign_gevent(modules),
        *sandbox_of_the_service(modules),
        *halves_that_meet(modules),
        *arrows_that_point_up(modules),
        *imports_of_tests(modules),
        *hidden_clocks(modules),
        *cycles(modules),
        *words_too_many(modules),
    ]


# -- the rules -------------------------------------------------------------------------------------


def foreign_gevent(modules: list[Module]) -> Iterator[str]:
    """Only actors/steam imports gevent, and the libraries that are built on it.

    `steam` and `dota2` are named too where they pull gevent in: their clients.
    """
    for module in modules:
        if not is_within(module.name, "actors.steam"):
            for used in module.uses("gevent", "steam.client", "dota2.client"):
                yield f"{module.name} imports {used}: gevent stays inside actors.steam"


def sandbox_of_the_service(modules: list[Module]) -> Iterator[str]:
    """The sandbox is a program of its own: what it shares with the service it cannot judge."""
    for module in modules:
        if is_within(module.name, "sandbox"):
            for used in module.uses("actors", "supervisor"):
                yield f"{module.name} imports {used}: the sandbox knows nothing of the service"


def halves_that_meet(modules: list[Module]) -> Iterator[str]:
    """Neither half imports the other; tree and cli put them together."""
    for module in modules:
        if is_within(module.name, "supervisor") and module.name not in SEES_BOTH_HALVES:
            for used in module.uses("actors"):
                yield f"{module.name} imports {used}: only tree and cli see both halves"
        if is_within(module.name, "actors"):
            for used in module.uses("supervisor", "sandbox"):
                yield f"{module.name} imports {used}: an actor does not know who supervises it"


def arrows_that_point_up(modules: list[Module]) -> Iterator[str]:
    """The lower parts of actors stand on each other and on the ground, on nothing above."""
    for module in modules:
        if is_within(module.name, *LOWER_PARTS):
            for used in module.uses("actors"):
                if used != "actors" and not is_within(used, *LOWER_PARTS, *GROUND):
                    yield f"{module.name} imports {used}: the arrow points up"


def imports_of_tests(modules: list[Module]) -> Iterator[str]:
    """What ships needs neither the tests nor the benchmarks."""
    for module in modules:
        for used in module.uses("tests", "bench"):
            yield f"{module.name} imports {used}: nothing that ships imports it"


def hidden_clocks(modules: list[Module]) -> Iterator[str]:
    """Time is an argument; one file reads the system's. (The sandbox has a time of its own.)"""
    for module in modules:
        if is_within(module.name, "supervisor", "actors") and module.name != "supervisor.clock":
            for used in module.uses("time"):
                yield f"{module.name} imports {used}: only supervisor.clock reads the system's time"


def cycles(modules: list[Module]) -> Iterator[str]:
    """No two files need each other."""
    names = {module.name for module in modules}
    graph = {module.name: module.imports & names - {module.name} for module in modules}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as found:
        yield f"import cycle: {' -> '.join(reversed(found.args[1]))}"


def words_too_many(modules: list[Module]) -> Iterator[str]:
    """The supervision itself serves any child: it never needs the word "bot"."""
    generic = {f"supervisor.{name}" for name in GENERIC}
    for module in modules:
        if module.name in generic and {"bot", "bots"} & {
            w.lower() for w in WORD.findall(module.text)
        }:
            yield f'{module.name} says "bot": the supervision knows no kind of child'


# -- reading ---------------------------------------------------------------------------------------


def read_modules(root: Path) -> Iterator[Module]:
    """Read every file of the packages under `root`."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_text()
            yield Module(name_of(path.relative_to(root)), text, imports_of(path, root, text))


def imports_of(path: Path, root: Path, text: str) -> frozenset[str]:
    """Return what `path` imports anywhere, also inside functions and TYPE_CHECKING blocks."""
    return frozenset(
        name
        for node in ast.walk(ast.parse(text, str(path)))
        for name in names_imported(node, path.relative_to(root), root)
    )


def names_imported(node: ast.AST, path: Path, root: Path) -> Iterator[str]:
    """Yield the modules that one statement imports; `from a import b` is a.b if that is a file."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = path.parts[: len(path.parts) - node.level] if node.level else ()
        source = ".".join((*package, *(node.module or "").split("."))).strip(".")
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            yield inner if is_module(inner, root) else source


def is_module(name: str, root: Path) -> bool:
    """Return whether a dotted name is a file or a package under `root`."""
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def name_of(path: Path) -> str:
    """Return the dotted name of a file; a package goes by its own name."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(name: str, *parts: str) -> bool:
    """Return whether the dotted `name` is one of `parts` or inside one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
