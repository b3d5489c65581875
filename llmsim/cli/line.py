"""One line of progress: redrawn on a terminal, a line now and then in a log."""

from __future__ import annotations

import shutil
import sys
import time

from llmsim.cli.progress import LOG_EVERY_S
from llmsim.cli.terminal import put, redraws

__all__ = ["Line"]

_DRAW_EVERY_S = 0.2


class Line:
    """On standard error; nothing of it stays on a terminal once it is cleared.

    Parameters
    ----------
    wanted
        Whether anything is shown at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._drawn = wanted and redraws(sys.stderr)
        self._last_s = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        """Show this, unless something was shown a moment ago."""
        now_s = time.monotonic()
        if not self._wanted or now_s - self._last_s < (_DRAW_EVERY_S if self._drawn else LOG_EVERY_S):
            return
        self._last_s = now_s
        if self._drawn:
            self._shown = True
            cut = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[2K{cut}", end="", file=sys.stderr, flush=True)
        else:
            put(text, "stderr")

    def counted(self, what: str, done: int, total: int) -> None:
        """How many of how many there are."""
        self(f"{what}: {done:,} of {total:,}")

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._shown = False
