"""The supervision tree, the settings, the logging, the composition root and the `botapi` command."""

__version__ = "0.1.0"
