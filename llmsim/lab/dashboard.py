"""A comparison as widgets: how far its runs are, and then its table and pictures."""

from __future__ import annotations

from html import escape
from time import perf_counter
from typing import TYPE_CHECKING

from llmsim.errors import SimulationInterrupted
from llmsim.lab.cells import close_all
from llmsim.lab.desk import Desk
from llmsim.lab.live_image import live_image, put
from llmsim.lab.shown import told_problems
from llmsim.lab.watch import where

if TYPE_CHECKING:
    from llmsim.lab.handle import Background
    from llmsim.lab.policies import PolicyComparison
    from llmsim.report.result import Result

__all__ = ["Dashboard"]

_DPI = 90
_EVERY_S = 0.25


class Dashboard:
    """Widgets that are there at once, whether the runs have ended or not.

    Parameters
    ----------
    comparison
        What is shown, and whose base can be chosen.
    handle
        Its runs, where they go on; None: they have ended.

    Attributes
    ----------
    root
        The widget.
    """

    def __init__(self, comparison: PolicyComparison, handle: Background[dict[str, Result]] | None = None) -> None:
        import ipywidgets as w

        self._comparison = comparison
        self._told_s = perf_counter()
        self._closed = False
        self.root = w.VBox()
        self.root.add_class("llmsim-dashboard")
        if handle is None:
            self._fill()
            return
        self._desk = Desk()
        self._text = w.HTML("<small>running …</small>")
        self._cancel = w.Button(description="Cancel", tooltip="Stop the runs of this comparison")
        self._cancel.on_click(lambda _: handle.cancel())
        self.root.children = [w.HBox([self._text, self._cancel])]
        handle.tell(self._hear)

    def close(self) -> None:
        """Take the widgets away."""
        self._closed = True
        close_all(self.root)

    def _fill(self) -> None:
        """Table and pictures, with a choice of what the others are compared with."""
        import ipywidgets as w

        found = self._comparison
        chosen = w.Dropdown(options=list(found.results), value=found.base, description="compared with")
        chosen.style.description_width = "initial"
        apart, over_time, page = live_image(), live_image(), w.HTML(value=found.table._repr_html_())

        def draw(*_: object) -> None:
            put(apart, found.forest(base=chosen.value), _DPI)

        chosen.observe(draw, names="value")
        draw()
        put(over_time, found.timelines(), _DPI)
        before = self.root.children
        self.root.children = [page, chosen, apart, over_time]
        for one in before:
            close_all(one)

    def _hear(self, handle: Background[dict[str, Result]]) -> None:
        """In the background thread."""
        if handle.state != "running":
            self._desk.post(lambda: self._end(handle))
        elif perf_counter() - self._told_s > _EVERY_S:
            self._told_s = perf_counter()
            share, text = where(handle.progress)
            self._say(f'<progress value="{share:.3f}" max="1"></progress> {escape(text)}')

    def _end(self, handle: Background[dict[str, Result]]) -> None:
        if self._closed:
            return
        self._cancel.disabled = True
        if isinstance(handle.error, SimulationInterrupted):
            self._say(f"<strong>stopped</strong> by {'Kernel → Interrupt' if handle.interrupted else 'Cancel'}")
        elif handle.error is not None:
            problem = handle.error if isinstance(handle.error, Exception) else Exception(repr(handle.error))
            self._say(told_problems(problem, "failed"))
        else:
            self._fill()
            self._comparison.ended(self)

    def _say(self, html: str) -> None:
        if not self._closed:
            self._text.value = f"<small>{html}</small>"
