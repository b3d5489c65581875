"""The command line, ``llmsim``. Nothing is imported before it is known what is wanted.

A file of one's own that registers policies and then calls `main` runs scenarios that name these policies::

    if __name__ == "__main__":
        llmsim.cli.main()  # python my_gateway.py run scenarios/mine.yaml
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

__all__ = ["main"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``llmsim ARGUMENTS`` (default: those of the process) and exit.

    Raises
    ------
    SystemExit
        Always. 0 pass, 1 an SLO failed, 2 bad input or nothing found, 3 undecided, 4 llmsim broke, 130 interrupted.
    """
    try:
        _begin(arguments)
    except KeyboardInterrupt:  # before the command itself began: a second of imports has no story to tell
        with suppress(OSError):
            print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)


def _begin(arguments: Sequence[str] | None) -> None:
    from llmsim.cli.app import app
    from llmsim.cli.ended import hear_the_end
    from llmsim.cli.terminal import no_more, put
    from llmsim.errors import LlmsimError

    hear_the_end()
    try:
        app(args=None if arguments is None else list(arguments))
    except LlmsimError as error:  # of commands that have nothing to look after
        put(str(error), "stderr")
        raise SystemExit(2) from None
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        put(str(no_more(sys.stdout, error)), "stderr")  # typer writes the help and the version itself
        raise SystemExit(2) from None
