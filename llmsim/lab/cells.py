"""A cell that is executed again replaces what it showed: its former widgets are closed, or the kernel would keep them.

ipywidgets holds on to every widget until it is closed, and a widget to the results it draws.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol

__all__ = ["close_all", "close_former"]


class _Closable(Protocol):
    def close(self) -> object: ...


#: By cell: which execution of it, and what that made.
_made: dict[str, tuple[str, list[weakref.ref[Any]]]] = {}


def close_former(new: _Closable) -> None:
    """Close what an earlier execution of the cell that executes now has made. Nothing happens outside of a notebook."""
    found = _cell()
    if found is None:
        return
    cell, execution = found
    before, made = _made.get(cell, ("", []))
    if before != execution:
        for one in made:
            old = one()
            if old is not None:
                old.close()
        made = []
    _made[cell] = (execution, [*made, weakref.ref(new)])


def close_all(root: Any) -> None:
    """Take a widget out of the kernel and the page, with all that is in it."""
    waiting = [root]
    while waiting:
        one = waiting.pop()
        waiting += getattr(one, "children", ())
        for name in ("layout", "style"):
            part = getattr(one, name, None)
            if part is not None:
                part.close()
        one.unobserve_all()
        one.close()


def _cell() -> tuple[str, str] | None:
    """Id of the cell (JupyterLab sends it) and of this execution; None where nobody says."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython is not None else None
    if kernel is None or not hasattr(kernel, "get_parent"):
        return None
    parent = kernel.get_parent()
    cell = parent.get("metadata", {}).get("cellId")
    execution = parent.get("header", {}).get("msg_id")
    return (str(cell), str(execution)) if cell and execution else None
