"""Groups of commands that are imported when one of them is used, not before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup


def later(commands: Callable[[], typer.Typer]) -> type[TyperGroup]:
    """Return a group whose commands are those of the application that `commands` imports."""

    @functools.cache
    def loaded() -> TyperGroup:
        return typer.main.get_group(commands())

    class Later(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return loaded().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return loaded().get_command(ctx, cmd_name)

    return Later
