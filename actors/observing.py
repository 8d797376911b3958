"""Containment of observers: code that counts, logs or shows the work and must not be able to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from structlog.typing import FilteringBoundLogger

P = ParamSpec("P")


def contained(
    observe: Callable[P, object], name: str, *, log: FilteringBoundLogger
) -> Callable[P, None]:
    """Return `observe` with every exception swallowed.

    The first exception is logged as an error with its traceback, the others at debug: an observer may be
    called for every request. `name` says in the log which observer it is.
    """
    has_failed = False

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            observe(*args, **kwargs)
        except Exception as error:
            kind = type(error).__name__
            if has_failed:
                log.debug("observer_failed", observer=name, error_type=kind)
            else:
                has_failed = True
                log.exception("observer_failed", observer=name, error_type=kind)

    return call
