"""Keys stay out of what the HTTP libraries log.

At DEBUG httpcore and hpack write down the headers of answers as they are, and some servers quote there what they were
sent. A filter stands at their loggers from the first call with a key on, and blots out what that key is at the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["keep_out"]

#: Those of httpx 0.28, httpcore 1.0 and hpack 4.1. Records go to a logger's own filters only, not to those above it.
_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
)


class _Filter(logging.Filter):
    """Lets everything pass, without the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.blots: dict[str, Callable[[str], str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = said = record.getMessage()
        for blot in self.blots.values():
            text = blot(text)
        if text != said:
            record.msg, record.args = text, ()  # arguments would show it too
        return True


_FILTER = _Filter()


def keep_out(variable: str, blot: Callable[[str], str]) -> None:
    """Have `blot` applied to what is logged, once for each environment variable that holds a key."""
    if variable in _FILTER.blots:
        return
    _FILTER.blots[variable] = blot
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # a second time does nothing
