"""How far a run is: as words, and as a line under a notebook cell that is gone when the run is over."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Protocol

from llmsim.report.figures import clock, count
from llmsim.report.notebook import in_notebook

__all__ = ["NotebookProgress", "Where", "left_s", "notebook_progress", "sentence"]

#: What is over sooner needs no progress display.
_PATIENCE_S = 1.0
_EVERY_S = 0.25  # browsers redraw an output as a whole: more often flickers


class Where(Protocol):
    """A `llmsim.api.RunProgress`."""

    @property
    def replications(self) -> int: ...
    @property
    def most(self) -> int: ...
    @property
    def simulated_s(self) -> float: ...
    @property
    def total_s(self) -> float: ...
    @property
    def requests(self) -> int: ...
    @property
    def wall_s(self) -> float: ...
    @property
    def share(self) -> float: ...


def sentence(at: Where) -> str:
    """``replication 4 of at most 20, 2:10 of 9:00, 12,345 requests``."""
    parts = [f"replication {min(at.replications + 1, at.most)} of at most {at.most}"]
    if at.simulated_s > 0:  # worker processes do not say how far they are
        parts.append(f"{clock(min(at.simulated_s, at.total_s))} of {clock(at.total_s)}")
    parts.append(f"{count(at.requests)} requests")
    return ", ".join(parts)


def left_s(at: Where) -> float | None:
    """Seconds it takes at most from here; None while there is too little to tell by."""
    return at.wall_s * (1 - at.share) / at.share if at.share > 0 and at.wall_s > 0.5 else None


class NotebookProgress:
    """Call it with where a run is; `close` it at the end. A run that is over soon shows nothing.

    Parameters
    ----------
    words
        Says where it is; default: `sentence`, and how long it takes at most from here.
    """

    def __init__(self, words: Callable[[Any], str] | None = None) -> None:
        self._words = words or _sentence_and_rest
        self._handle: Any = None
        self._drawn_s = _PATIENCE_S - _EVERY_S

    def __call__(self, at: Any) -> None:
        if at.wall_s - self._drawn_s < _EVERY_S:
            return
        self._drawn_s = at.wall_s
        text = self._words(at)
        bar = f'<progress value="{at.share:.3f}" max="1"></progress>'
        self._show({"text/plain": text, "text/html": f"<small>{bar} {escape(text)}</small>"})

    def close(self) -> None:
        """Leave nothing behind.

        A notebook can only be told to drop all outputs of a cell, with what was printed. So an empty one stays, which
        JupyterLab gives no height. One without any data would be as small, and nbconvert warns of it.
        """
        if self._handle is not None:
            self._show({"text/plain": "", "text/html": ""})

    def _show(self, content: dict[str, str]) -> None:
        if self._handle is not None:
            self._handle.update(content, raw=True)
            return
        from IPython.display import display

        # A display of its own and not ipywidgets: those leave their state in the notebook file.
        self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]


def _sentence_and_rest(at: Where) -> str:
    left = left_s(at)
    return sentence(at) + ("" if left is None else f", at most {clock(left)} left")


def notebook_progress(words: Callable[[Any], str] | None = None) -> NotebookProgress | None:
    """A display for the cell that runs, None outside of notebooks."""
    return NotebookProgress(words) if in_notebook() else None
