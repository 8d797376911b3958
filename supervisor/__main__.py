"""`python -m supervisor`: the `botapi` command where the script is not on the path."""

from __future__ import annotations

from supervisor.cli.main import main

main()
