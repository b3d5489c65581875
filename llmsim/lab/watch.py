"""`watch`: a background run as a bar with its time left, a button that stops it, and its result when it ends."""

from __future__ import annotations

from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any

from llmsim.errors import SimulationInterrupted
from llmsim.lab.cells import close_former
from llmsim.lab.handle import RunHandle, start
from llmsim.lab.saved import Saved
from llmsim.lab.shown import told_problems
from llmsim.live_run import LiveProgress
from llmsim.report.figures import clock, count, usd
from llmsim.report.html import to_html
from llmsim.report.live_display import left_s, sentence

if TYPE_CHECKING:
    from llmsim.report.result import Result
    from llmsim.scenario.given import ScenarioLike

__all__ = ["Watch", "watch"]

_EVERY_S = 0.25


class Watch:
    """What `watch` gives back; it shows itself.

    Widgets are told from the run's own thread, so that they go on while another cell executes.

    Attributes
    ----------
    handle
        The run.
    """

    def __init__(self, handle: RunHandle, *, own: bool = False) -> None:
        import ipywidgets as w

        self.handle = handle
        self._own = own
        self._told_s = 0.0
        self._closed = False
        self._saved = Saved()
        self._bar = w.FloatProgress(max=1.0, layout=w.Layout(width="300px"))
        self._text = w.HTML()
        self._cancel = w.Button(description="Cancel", tooltip=f"Stop the run of {handle.name}")
        self._result = w.HTML()
        self._cancel.on_click(lambda _: self.cancel())
        self._root = w.VBox([w.HBox([self._bar, self._cancel, self._text]), self._result])
        self._root.add_class("llmsim-watch")
        self._say("begins …")
        handle.tell(self._hear)

    @property
    def result(self) -> Result:
        """The result; waits for it. See `RunHandle.get`."""
        return self.handle.get()

    def cancel(self) -> None:
        """Stop the run; as the button does. No effect on a run that has ended."""
        self._cancel.disabled = True
        self._say("stopping …")
        self.handle.cancel()
        if self.handle.state != "running":  # it may have said so before we said that it is stopping
            self._end(self.handle)

    def close(self) -> None:
        """Take the widgets away; a run that was started elsewhere goes on."""
        self._closed = True
        if self._own:
            self.handle.cancel()
        for one in (self._bar, self._text, self._cancel, self._result, *self._root.children, self._root):
            one.close()

    def _hear(self, handle: RunHandle) -> None:
        if self._closed:
            return
        if handle.state != "running":
            self._end(handle)
        elif perf_counter() - self._told_s > _EVERY_S and not self._cancel.disabled:
            self._told_s = perf_counter()
            share, text = where(handle.progress)
            self._bar.value = share
            more = "" if handle.interruptible else " (Kernel → Interrupt does not reach it: press Cancel)"
            self._say(f"{text}{more}")

    def _end(self, handle: RunHandle) -> None:
        self._cancel.disabled = True
        if handle.result is not None:  # before it is said to be there
            self._result.value = to_html(handle.result)
        if isinstance(handle.error, SimulationInterrupted):
            self._bar.bar_style = "warning"
            by = "by Kernel → Interrupt" if handle.interrupted else "by Cancel"
            kept = "; what there is until then:" if handle.result is not None else ""
            self._say(f"stopped {by}{kept}")
        elif handle.error is not None:
            self._bar.bar_style = "danger"
            problem = handle.error if isinstance(handle.error, Exception) else Exception(repr(handle.error))
            self._text.value = told_problems(problem, "failed")
        else:
            self._bar.value, self._bar.bar_style = 1.0, "success"
            self._say("done")
        if self._saved.waits and not self._closed:  # the result takes a while to write, and a cell may run again
            self._saved.replace(self._repr_mimebundle_())

    def _say(self, text: str) -> None:
        self._text.value = escape(text)

    def _ipython_display_(self) -> None:
        """Show it; what is saved of it follows when the run has ended."""
        ended = self.handle.state != "running"
        self._saved.show(self._repr_mimebundle_(), final=ended)
        if not ended and self.handle.state != "running":  # while it was shown
            self._saved.replace(self._repr_mimebundle_())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widgets; for where there are none, the result if there is one already."""
        show = self._root._repr_mimebundle_  # None: the widgets were taken away
        found: dict[str, Any] = {} if show is None else show(**kwargs) or {}
        html = escape(repr(self)) if self.handle.result is None else to_html(self.handle.result)
        return {**found, "text/html": html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        told = f", {where(self.handle.progress)[1]}" if self.handle.state == "running" and self.handle.progress else ""
        return f"<Watch {self.handle.name}: {self.handle.state}{told}>"


def where(at: Any) -> tuple[float, str]:
    """How much is done, 0 to 1, and in words; of a simulation or a live run."""
    if at is None:
        return 0.0, "begins …"
    if isinstance(at, LiveProgress):
        share = min(at.elapsed_s / at.total_s, 1.0) if at.total_s > 0 else 0.0
        left = max(0.0, at.total_s - at.elapsed_s)
        spent = f"{usd(at.spent_usd)} of {usd(at.budget_usd)} spent"
        held = f" (and at most {usd(at.reserved_usd)} by calls under way)" if at.reserved_usd else ""
        counts = f"{count(at.requests)} requests, {at.in_flight} in flight"
        text = (
            f"live, {clock(at.elapsed_s)} of {clock(at.total_s)}, {counts}, {spent}{held}, at most {clock(left)} left"
        )
        return max(share, 0.0), text
    left_at_most = left_s(at)
    more = "" if left_at_most is None else f", at most {clock(left_at_most)} left"
    pace = f", {count(at.requests / at.wall_s)} a second" if at.wall_s > 1 else ""
    return at.share, f"{sentence(at)}{pace}{more}"


def watch(run: RunHandle | ScenarioLike, **options: Any) -> Watch:
    """Show a run that goes on in the background.

    Parameters
    ----------
    run
        What `llmsim.lab.start` or `start_live` gave back; or a scenario, which is then started.
    **options
        For a scenario: as for `llmsim.run`.

    Examples
    --------
    >>> shown = watch(
    ...     {
    ...         "version": 1,
    ...         "replications": 1,
    ...         "clock": {"duration": "20s"},
    ...         "traffic": {"base_rate": "5/s"},
    ...         "providers": {"openai": {"ttft": "300ms"}},
    ...     }
    ... )
    >>> shown.result.metrics["error_rate"]
    0.0
    """
    if isinstance(run, RunHandle):
        if options:
            raise TypeError(f"{', '.join(options)}: of a run that has been started already; give them to start()")
        found = Watch(run)
    else:
        found = Watch(start(run, **options), own=True)
    close_former(found)
    return found
