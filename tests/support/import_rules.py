"""Import rules between packages, checked on the source with `ast`; nothing is imported.

`LAYERS` and `HALVES` are the whole table: a package imports what stands to its left. There is no list of
exemptions.
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
# The base of `actors`, then its packages: each imports itself and what stands to its left.
BASE: Final = ("errors", "clock", "actor", "metrics")
LAYERS: Final = (
    "redis",
    "steam",
    "accounts",
    "egress",
    "matches",
    "replays",
    "bot",
    "router",
    "jobs",
    "dashboard",
    "http",
)
NEIGHBOURS: Final = frozenset({"accounts", "egress"})  # do not import each other
# The core of `supervisor` imports itself; these packages import the core and what stands to their left.
CORE: Final = ("supervisor", "child", "child_runner", "restart", "clock")
PARTS: Final = ("config", "logs", "app", "cli")
COMPOSES: Final = ("supervisor.app", "supervisor.cli")  # the only parts that import `actors`
CLOCK: Final = "actors.clock"  # but for the one protocol that the core shares with them
# Libraries, and the modules that may import them.
HOMES: Final = {
    "gevent": ("actors.steam",),
    "steam": ("actors.steam",),
    "dota2": ("actors.steam", "actors.matches.protobuf.schema"),
    "prometheus_client": ("actors.metrics",),
    "redis": ("actors.redis", "actors.accounts", "actors.egress", "actors.matches", "actors.jobs"),
    "time": ("supervisor.clock",),  # time is an argument everywhere else
}
SANDBOX_MAY_NOT: Final = ("actors", "supervisor", "gevent")
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
    """Return one line for each import, cycle or word that breaks a rule."""
    modules = list(read_modules(root))
    return [
        *libraries_outside_their_home(modules),
        *imports_of_the_sandbox(modules),
        *imports_between_the_halves(modules),
        *imports_of_a_right_neighbour(modules),
        *imports_of_tests(modules),
        *cycles(modules),
        *words_in_the_core(modules),
    ]


# -- the rules -------------------------------------------------------------------------------------


def libraries_outside_their_home(modules: list[Module]) -> Iterator[str]:
    """Each of these libraries is imported in its own package only."""
    for module in modules:
        if not is_within(module.name, "sandbox"):
            for library, homes in HOMES.items():
                if not is_within(module.name, *homes):
                    for used in module.uses(library):
                        yield f"{module.name} imports {used}: {library} stays in {', '.join(homes)}"


def imports_of_the_sandbox(modules: list[Module]) -> Iterator[str]:
    """The sandbox shares no code with the service, so that it can judge it."""
    for module in modules:
        if is_within(module.name, "sandbox"):
            for used in module.uses(*SANDBOX_MAY_NOT):
                yield f"{module.name} imports {used}: the sandbox is a program of its own"


def imports_between_the_halves(modules: list[Module]) -> Iterator[str]:
    """`actors` never imports `supervisor`; in `supervisor` only the composition root imports `actors`."""
    for module in modules:
        if is_within(module.name, "supervisor") and not is_within(module.name, *COMPOSES):
            for used in module.uses("actors"):
                if used != CLOCK or module.name.count(".") > 1:
                    yield f"{module.name} imports {used}: only app and cli import actors"
        if is_within(module.name, "actors"):
            for used in module.uses("supervisor", "sandbox"):
                yield f"{module.name} imports {used}: actors imports neither"


def imports_of_a_right_neighbour(modules: list[Module]) -> Iterator[str]:
    """A package imports what stands to its left in its table."""
    for module in modules:
        for top, base, layers in (("actors", BASE, LAYERS), ("supervisor", CORE, PARTS)):
            if not is_within(module.name, top) or module.name == f"{top}.__main__":
                continue
            own = rank(module.name, base, layers)
            for used in module.uses(top):
                its = rank(used, base, layers)
                are_neighbours = {part_of(module.name), part_of(used)} == NEIGHBOURS
                if its > own or are_neighbours:
                    yield f"{module.name} imports {used}: it stands to its right"


def imports_of_tests(modules: list[Module]) -> Iterator[str]:
    """What ships needs neither the tests nor the benchmarks."""
    for module in modules:
        for used in module.uses("tests", "bench"):
            yield f"{module.name} imports {used}: nothing that ships imports it"


def cycles(modules: list[Module]) -> Iterator[str]:
    """No two files need each other."""
    names = {module.name for module in modules}
    graph = {module.name: module.imports & names - {module.name} for module in modules}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as found:
        yield f"import cycle: {' -> '.join(reversed(found.args[1]))}"


def words_in_the_core(modules: list[Module]) -> Iterator[str]:
    """The supervision itself serves any child: it never needs the word "bot"."""
    core = {f"supervisor.{name}" for name in CORE}
    for module in modules:
        if module.name in core and {"bot", "bots"} & {w.lower() for w in WORD.findall(module.text)}:
            yield f'{module.name} says "bot": the supervision knows no kind of child'


def part_of(name: str) -> str:
    """Return the package or base module inside its half: "steam" for actors.steam.port."""
    return name.split(".")[1] if "." in name else ""


def rank(name: str, base: tuple[str, ...], layers: tuple[str, ...]) -> int:
    """Return the place in the table: 0 for the half itself and its base, then 1, 2, ..."""
    part = part_of(name)
    return (
        0 if part in ("", *base) else 1 + layers.index(part) if part in layers else len(layers) + 1
    )


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
