"""A run in the background: the cell returns at once, other cells go on, and whoever holds the handle can stop it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, Generic, Literal, Self, TypeVar

from llmsim.api import run
from llmsim.errors import SimulationInterrupted
from llmsim.lab.interrupts import stop_on_interrupt
from llmsim.report.live_display import Where
from llmsim.report.result import Result
from llmsim.scenario.given import ScenarioLike

__all__ = ["GLANCE_S", "Background", "RunHandle", "start", "start_live"]

#: What is shown waits so long for its run: a second nobody minds, and what is saved then has the result, too.
GLANCE_S = 1.0

State = Literal["running", "done", "cancelled", "failed"]


T = TypeVar("T")


class Background(Generic[T]):
    """Work that goes on while the caller does something else.

    Parameters
    ----------
    work
        What the background thread does. It is given what to call with its progress, about ten times a second; that call
        raises KeyboardInterrupt when the work is to stop.
    name
        Of what is run, for people.

    Attributes
    ----------
    name
        As given.
    progress
        Where the run is (a `RunProgress`, or a `LiveProgress`); None before the first report.
    error
        What it failed with; None while it runs, and if it did not fail.
    interruptible
        Whether Kernel → Interrupt stops it while no cell is executing. Where it does not, `cancel` does.
    interrupted
        Whether that is what stopped it.
    """

    def __init__(self, work: Callable[[Callable[[Any], object]], T], name: str = "") -> None:
        self.name = name
        self.progress: Where | None = None
        self.error: BaseException | None = None
        self._work = work
        self._result: T | None = None
        self._told: list[Callable[[Any], object]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ended = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._do,), name="llmsim handle", daemon=True)
        self.interrupted = False
        self.interruptible = stop_on_interrupt(self)
        self._thread.start()

    @property
    def state(self) -> State:
        """``running``, ``done``, ``cancelled`` (a partial result may be there) or ``failed``."""
        if not self._ended.is_set():
            return "running"
        if isinstance(self.error, SimulationInterrupted):
            return "cancelled"
        return "done" if self.error is None else "failed"

    def cancel(self) -> None:
        """Let the run stop within about a second; what it has until then stays. No effect on a run that has ended."""
        self._stop.set()

    def interrupt(self) -> None:
        """What an interrupt of an idle kernel does: `cancel`, and it can be told from that."""
        if not self._ended.is_set():
            self.interrupted = True
            self.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the run has ended; False if it still goes on after `timeout_s`.

        Interrupting the wait (Kernel → Interrupt) cancels the run.
        """
        try:
            return self._ended.wait(timeout_s)
        except KeyboardInterrupt:
            self.interrupt()
            raise

    @property
    def result(self) -> T | None:
        """What came of it, or of a cancelled run its part; None while it runs and if there is nothing."""
        return self._result

    def get(self) -> T:
        """The result, once the run has ended; waits for it.

        Raises
        ------
        SimulationInterrupted
            It was cancelled; ``.partial`` has what there is.
        LlmsimError
            It failed, as `llmsim.run` would have.
        """
        self.wait()
        if self.error is not None:
            raise self.error
        assert self._result is not None
        return self._result

    def tell(self, listener: Callable[[Self], object]) -> None:
        """Call `listener` with this handle at every report, and once when the run has ended.

        It is called in the background thread. If the run has ended already, it is called at once.
        """
        with self._lock:
            self._told.append(listener)
            ended = self._ended.is_set()
        if ended:
            listener(self)

    def _do(self) -> None:
        try:
            self._result = self._work(self._report)
        except SimulationInterrupted as stop:
            self.error = stop
            self._result = self._part(stop)
        except KeyboardInterrupt:
            # Before the run could begin, or after its end.
            self.error = SimulationInterrupted("cancelled before there was anything")
        except BaseException as error:
            self.error = error
        with self._lock:
            self._ended.set()
            told = list(self._told)
        for listener in told:
            listener(self)

    def _part(self, stop: SimulationInterrupted) -> T | None:
        """What there is of the result of work that was stopped."""
        return None

    def _report(self, at: Any) -> None:
        self.progress = at
        for listener in list(self._told):
            listener(self)
        if self._stop.is_set():
            # To the run it looks as if the user had pressed Ctrl-C in the thread that waits for it.
            raise KeyboardInterrupt

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.state}>"


class RunHandle(Background[Result]):
    """A run that goes on while the caller does something else; see `Background`."""

    def _part(self, stop: SimulationInterrupted) -> Result | None:
        found: Result | None = stop.partial
        return found


def start(scenario: ScenarioLike, **options: Any) -> RunHandle:
    """Begin `llmsim.run` in the background.

    Parameters
    ----------
    scenario, **options
        As for `llmsim.run`; ``progress`` is what the handle tells.

    Examples
    --------
    >>> handle = start(
    ...     {
    ...         "version": 1,
    ...         "replications": 1,
    ...         "clock": {"duration": "20s"},
    ...         "traffic": {"base_rate": "5/s"},
    ...         "providers": {"openai": {"ttft": "300ms"}},
    ...     }
    ... )
    >>> handle.get().metrics["error_rate"]
    0.0
    >>> handle.state
    'done'
    """
    return RunHandle(lambda report: run(scenario, progress=report, **options), _name(scenario))


def start_live(scenario: Any, providers: Any = None, **options: Any) -> RunHandle:
    """Begin `llmsim.run_live` in the background; a budget is as necessary as there."""
    from llmsim.live_run import run_live

    return RunHandle(lambda report: run_live(scenario, providers, progress=report, **options), _name(scenario))


def _name(scenario: Any) -> str:
    found = getattr(scenario, "name", None) or (scenario.get("name", "") if isinstance(scenario, dict) else scenario)
    return str(found)
