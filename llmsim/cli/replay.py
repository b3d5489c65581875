"""The command that gives the same result again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["program", "replay"]


def program() -> str:
    """How this command line was started.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch("sys.argv", ["my gateway.py", "run"]):
    ...     program()
    "python 'my gateway.py'"
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return "python -m llmsim" if started.parent.name == "llmsim" else "llmsim"
    return f"python {shlex.quote(str(started))}" if started.suffix == ".py" else "llmsim"


def replay(
    file: Path | str,
    seed: int | None,
    replications: int | None = None,
    overrides: Sequence[str] = (),
    *,
    gateway: str = "",
    live: Sequence[str] = (),
    started_as: str = "",
) -> str:
    """``llmsim run FILE --seed …``, ready to be pasted; `--jobs` is left out, for it changes nothing.

    Parameters
    ----------
    file, seed, replications, overrides, gateway
        What was asked.
    live
        Words of a live run (`llmsim.cli.live.LiveOptions.words`): the same requests again, for money.
    started_as
        How the command line was started, where this process cannot know.
    """
    words = ["run", str(file)]
    if seed is not None:
        words += ["--seed", str(seed)]
    if replications is not None:
        words += ["--replications", str(replications)]
    for override in overrides:
        words += ["--set", override]
    if gateway:
        words += ["--gateway", gateway]
    words += live
    return f"{started_as or program()} {shlex.join(words)}"
