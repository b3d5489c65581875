"""Whose line is it: telling a user's frame from the plumbing around it."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import FrameType

__all__ = ["is_plumbing", "user_line"]

_ENGINE = str(Path(__file__).parent)
_paths = sysconfig.get_paths()
_STDLIB = tuple({_paths["stdlib"], _paths["platstdlib"]})
_SITE = tuple({_paths["purelib"], _paths["platlib"]})


def is_plumbing(file: str) -> bool:
    """Whether a file belongs to the standard library, to an installed package or to the engine."""
    return file.startswith(("<frozen", _ENGINE, *_SITE, *_STDLIB))


def user_line(frame: FrameType | None = None) -> str:
    """Name the innermost frame that is the user's, as ``file:line in function``.

    The search ends at the loop: the frames above it belong to whoever started the simulation. If all frames below are
    plumbing (a library called from a callback), the innermost one outside the engine is named.
    """
    frame = frame if frame is not None else sys._getframe(1)  # noqa: SLF001 - a traceback costs 100 times more
    fallback = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ENGINE):
            if frame.f_code.co_name == "_spin":
                break
        else:
            line = f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
            if not is_plumbing(file):
                return line
            fallback = fallback or line
        frame = frame.f_back
    return fallback or "the engine itself"
