"""Where a line of somebody's code is, as its author knows it."""

from __future__ import annotations

import sys

__all__ = ["line_of"]


def line_of(file: str, line: int) -> str:
    """``file:line``; in a notebook, whose files nobody knows, ``Cell In[7], line 3``.

    Examples
    --------
    >>> line_of("gateway.py", 12)
    'gateway.py:12'
    """
    ipython = sys.modules.get("IPython")  # not imported: not in a notebook
    shell = ipython.get_ipython() if ipython is not None else None
    cell = shell.compile.format_code_name(file) if shell is not None else None
    return f"{file}:{line}" if cell is None else f"{' '.join(cell)}, line {line}"
