"""Is there a notebook to draw in?"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["attended", "in_notebook"]


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    return _kernel() is not None


def attended() -> bool:
    """Whether somebody looks at the notebook while its cells run, and will see what changes later.

    papermill, nbconvert and ``jupyter execute`` run cells through nbclient, which answers no questions and says so with
    each cell (``allow_stdin``, Jupyter's messaging protocol, "Execute"); when the last cell has run they are gone.
    """
    kernel = _kernel()
    parent = kernel.get_parent() if hasattr(kernel, "get_parent") else None
    return bool((parent or {}).get("content", {}).get("allow_stdin", False))


def _kernel() -> Any:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None)
