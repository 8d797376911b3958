"""`python -m supervisor`: the `botapi` command where the script is not on the path."""

from supervisor.cli import main

main()
