"""Where a line of somebody's code is, as its author knows it."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["line_of", "notebook_traceback"]

_TYPED = re.compile(r"<ipython-input-(\d+)-")  #: how a terminal's IPython calls what was typed, and IPython 7 its cells


def line_of(file: str, line: int) -> str:
    """``file:line``; in a notebook, whose files nobody knows, ``Cell In[7], line 3``.

    Examples
    --------
    >>> line_of("gateway.py", 12), line_of("<ipython-input-7-86f7e437faa5>", 3)
    ('gateway.py:12', 'Cell In[7], line 3')
    """
    typed = _TYPED.match(file)
    if typed is not None:
        return f"Cell In[{typed[1]}], line {line}"
    ipython = sys.modules.get("IPython")  # not imported: not in a notebook
    shell = ipython.get_ipython() if ipython is not None else None
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)  # since IPython 8; Colab has 7
    cell = None if name_of is None else name_of(file)
    return f"{file}:{line}" if cell is None else f"{' '.join(cell)}, line {line}"


def notebook_traceback(error: BaseException) -> list[str]:
    """What IPython shows of an error about the user's code: the lines of that code, without the hundred between them.

    IPython asks an error's ``_render_traceback_`` for it. ``%xmode Verbose`` shows all, ``%debug`` goes through all.
    """
    formatter: Any = sys.modules["IPython"].get_ipython().InteractiveTB
    chain = list(_chain(error))
    whole = [one.__traceback__ for one in chain]
    try:
        if formatter.mode != "Verbose":
            for one in chain:
                one.__traceback__ = _theirs(one.__traceback__) or one.__traceback__
        lines: list[str] = formatter.structured_traceback(type(error), error, error.__traceback__, tb_offset=0)
        return lines
    finally:
        for one, traceback in zip(chain, whole, strict=True):
            one.__traceback__ = traceback


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _theirs(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of llmsim, of the standard library and of IPython."""
    ipython = str(Path(sys.modules["IPython"].__file__ or "").parent)
    ours = (str(Path(__file__).parent), *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}, ipython)
    libraries = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
    kept = []
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        # A library's folder lies within the standard library's: what is there may be between the user and the error.
        if not file.startswith(ours) or (file.startswith(libraries) and not file.startswith((ours[0], ipython))):
            kept.append(traceback)
        traceback = traceback.tb_next
    shown: TracebackType | None = None
    for one in reversed(kept):
        shown = TracebackType(shown, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return shown
