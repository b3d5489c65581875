"""Whose line is it: telling a user's frame from the plumbing around it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from llmsim.places import line_of

__all__ = ["called_by_user", "is_plumbing", "place", "stack", "user_frame", "where"]

_ENGINE = str(Path(__file__).parent)
_paths = sysconfig.get_paths()
_SITE = (_paths["purelib"], _paths["platlib"])
_STDLIB = (_paths["stdlib"], _paths["platstdlib"], "<frozen")


def is_plumbing(file: str) -> bool:
    """Whether a file belongs to the standard library, to an installed package or to the engine."""
    return _rank(file) > 0


def _rank(file: str) -> int:
    """Order files: 0 the user's, 1 an installed package's, 2 the standard library's, 3 the engine's."""
    if file.startswith(_ENGINE):
        return 3
    if file.startswith(_SITE):  # before the standard library, whose folder it may lie in
        return 1
    return 2 if file.startswith(_STDLIB) else 0


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Frames from the innermost one out to the loop; further out is whoever started the simulation."""
    while frame is not None:
        if frame.f_code.co_name == "_spin" and frame.f_code.co_filename.startswith(_ENGINE):
            return
        yield frame
        frame = frame.f_back


def user_frame(frames: Iterator[FrameType]) -> FrameType | None:
    """Pick the innermost frame that is the user's; if there is none, the one that is nearest to that."""
    best, best_rank = None, 3
    for frame in frames:
        rank = _rank(frame.f_code.co_filename)
        if rank < best_rank:
            best, best_rank = frame, rank
            if rank == 0:
                break
    return best


def called_by_user(frame: FrameType) -> bool:
    """Whether the nearest frame that is not the standard library's is the user's, not an installed package's."""
    return next((rank == 0 for each in stack(frame) if (rank := _rank(each.f_code.co_filename)) < 2), True)


def where(frame: FrameType | None = None) -> str:
    """Name the user's line that led here (or to `frame`), as ``file:line in function``."""
    best = user_frame(stack(frame if frame is not None else sys._getframe(1)))  # noqa: SLF001 - there is no other way
    if best is None:
        return "the engine itself"
    return place(best)


def place(frame: FrameType) -> str:
    """``file:line in function``; in a notebook, whose files nobody knows, ``Cell In[7], line 3 in function``."""
    return f"{line_of(frame.f_code.co_filename, frame.f_lineno or 0)} in {frame.f_code.co_name}"
