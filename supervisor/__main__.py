"""`python -m supervisor`: the `botapi` command."""

from __future__ import annotations

from supervisor.cli.main import main

main()
