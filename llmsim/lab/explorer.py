"""`explore`: a scenario with its knobs beside what they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any

from llmsim.api import run
from llmsim.errors import LlmsimError, ScenarioError, SimulationInterrupted
from llmsim.lab.cells import close_former
from llmsim.lab.controls import Wanted, controls_of
from llmsim.lab.desk import Desk
from llmsim.lab.handle import GLANCE_S, RunHandle
from llmsim.lab.live_image import put
from llmsim.lab.saved import Saved
from llmsim.lab.settings import Settings
from llmsim.lab.shown import as_python, as_yaml, numbers, told_problems, without_widgets
from llmsim.report.figures import clock
from llmsim.report.live_display import left_s, sentence
from llmsim.report.notebook import attended
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.load import read_value
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result
    from llmsim.scenario.spec import Scenario

__all__ = ["Explorer", "explore"]

_SETTLE_S = 0.12  # longer than between two repeats of a key that is held down (30 a second is usual)
_TELL_S = 0.25


class Explorer:
    """What `explore` gives back; it shows itself.

    Attributes
    ----------
    seconds
        Of the run that is shown: ``simulated``, ``drawn``, and ``total`` since the control was moved.
    """

    def __init__(self, scenario: Scenario, controls: Wanted | None, replications: int) -> None:
        from llmsim.lab.panel import Panel

        if replications < 1:
            raise LlmsimError(f"replications is {replications}; use 1 or more")
        found = controls_of(scenario, controls)
        self.seconds: dict[str, float] = {}
        self._settings = Settings.of(scenario, found)
        self._replications = replications
        self._desk = Desk()
        self._panel = Panel(found)
        self._handle: RunHandle | None = None
        self._judging = False
        self._shown: Result | None = None
        self._before: Result | None = None
        self._png = b""
        self._alt = ""
        self._error: Exception | None = None
        self._moved_s = self._told_s = perf_counter()
        self._call_off: Any = None
        self._closed = False
        self._saved = Saved()
        self._listen()
        self._begin()

    # -- for the next cell -------------------------------------------------------------------------------------

    @property
    def scenario(self) -> Scenario:
        """The scenario as the controls stand now.

        Raises
        ------
        ScenarioError
            If these settings do not go together.
        """
        return self._settings.scenario()

    @property
    def values(self) -> dict[str, str | bool]:
        """Where every control stands, by path: as a scenario file writes it, or True or False."""
        return dict(self._settings.values)

    @property
    def changes(self) -> dict[str, str]:
        """What is not as it was, by path; for `Scenario.with_values`. Policies that are switched off are not in it."""
        return self._settings.changes

    @property
    def result(self) -> Result:
        """What is shown: of the settings as they are, unless these are wrong. Waits for a run that goes on.

        Raises
        ------
        LlmsimError
            Nothing could be run yet; says why.
        """
        self.wait()
        if self._shown is None:
            raise LlmsimError(f"nothing has been run yet: {self._error or 'the run was stopped'}")
        return self._shown

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until what was asked for last is shown; False if it still is not after `timeout_s`."""
        self._desk.now(self._settled)
        handle = self._handle
        if handle is None:
            return True
        if not handle.wait(timeout_s):
            return False
        self._desk.now(lambda: self._end(handle))
        return True

    def set(self, values: Mapping[str, str | bool]) -> None:
        """Move controls, as if by hand; a slider also takes a value between its places.

        Raises
        ------
        LlmsimError
            For a path that has no control, and for what that cannot be; then nothing has moved.
        """
        placed = {path: self._placed(path, value) for path, value in values.items()}  # all of them, or none
        for path, (value, places) in placed.items():
            widget = self._panel.turned[path]
            if places and places != widget.options:
                widget.options = places
            widget.value = value

    def _placed(self, path: str, value: Any) -> tuple[str | bool, tuple[str, ...]]:
        """A value as its control has it, and the control's places with it among them; a switch has none."""
        widget = self._panel.turned.get(path)
        if widget is None:
            raise LlmsimError(f"there is no control for {path!r}; there are {', '.join(self._panel.turned)}")
        if isinstance(value, bool) != isinstance(widget.value, bool):
            raise LlmsimError(f"{path} cannot be {value!r}; write it like {widget.value!r}")
        if isinstance(value, bool):
            return value, ()
        places = tuple(widget.options)
        if value in places:
            return value, places
        (control,) = controls_of(self._settings.base, {path: [value, *places]})
        new = [one for one in control.options if one not in places]
        if new:
            return new[0], control.options
        try:  # it is the present value, spelled otherwise, or nothing
            self._settings.base.with_values({path: read_value(value)})
        except ScenarioError:
            raise LlmsimError(f"{path} cannot be {value!r}; write it like {widget.value!r}") from None
        return control.value, places

    def judge(self) -> None:
        """Run all replications of the scenario, for a verdict; as the button does."""
        self._begin(judging=True)

    def cancel(self) -> None:
        """Stop the run that goes on; what is shown stays."""
        if self._handle is not None:
            self._handle.cancel()

    def reset(self) -> None:
        """All controls back to the scenario as it is."""
        for path, one in self._settings.controls.items():
            self._panel.turned[path].value = one.value

    def to_yaml(self) -> str:
        """The scenario's file with these settings, comments kept; without a file, what to write into one."""
        return as_yaml(self._settings.base, self._settings.changes, self._settings.out)

    def to_python(self) -> str:
        """Code that makes these settings and runs them."""
        return as_python(self._settings.base, self._settings.changes, self._settings.out)

    def close(self) -> None:
        """Stop what runs and take the widgets away. The explorer's result stays."""
        if self._closed:
            return
        self._closed = True
        if self._call_off is not None:
            self._call_off()
        self.cancel()
        self._panel.close()

    # -- what happens ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        panel = self._panel
        for path, widget in panel.turned.items():
            widget.observe(lambda change, path=path: self._move(path, change["new"]), names="value")
        panel.judge.on_click(lambda _: self.judge())
        panel.cancel.on_click(lambda _: self.cancel())
        panel.reset.on_click(lambda _: self.reset())
        panel.as_yaml.on_click(lambda _: self._offer(self.to_yaml))
        panel.as_python.on_click(lambda _: self._offer(self.to_python))

    def _move(self, path: str, value: Any) -> None:
        if self._closed or self._settings.values[path] == value:
            return
        self._settings.values[path] = value
        self._moved_s = perf_counter()
        if self._call_off is not None:
            self._call_off()
        self._call_off = self._desk.later(_SETTLE_S, self._settled)

    def _settled(self) -> None:
        if self._call_off is not None:  # else somebody could not wait
            self._begin()

    def _begin(self, *, judging: bool = False) -> None:
        """Run the settings as they are; what runs is of no interest any more."""
        if self._call_off is not None:
            self._call_off()
            self._call_off = None
        if self._closed:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        try:
            scenario = self.scenario
        except (LlmsimError, ValueError) as error:
            self._fail(error)
            return
        most = scenario.replications if judging else self._replications
        self._judging = judging
        self._told_s = perf_counter()
        wanted = dataclasses.replace(scenario, replications=most)
        handle = RunHandle(lambda report: run(wanted, progress=report), scenario.name)
        self._handle = handle
        self._panel.cancel.disabled = False
        self._say("running …")
        handle.tell(self._hear)

    def _hear(self, handle: RunHandle) -> None:
        """In the background thread."""
        if handle.state != "running":
            self._desk.post(lambda: self._end(handle))
        elif perf_counter() - self._told_s > _TELL_S:
            self._told_s = perf_counter()
            self._desk.post(lambda: self._report(handle))

    def _report(self, handle: RunHandle) -> None:
        if handle is not self._handle or self._closed or handle.progress is None:
            return
        at = handle.progress
        left = left_s(at)
        more = "" if left is None else f", at most {clock(left)} left"
        what = "judging: " if self._judging else ""
        stop = "" if handle.interruptible else " Press Cancel to stop it: Kernel → Interrupt does not reach it."
        self._say(f'<progress value="{at.share:.3f}" max="1"></progress> {what}{escape(sentence(at))}{more}{stop}')

    def _end(self, handle: RunHandle) -> None:
        if handle is not self._handle or self._closed:
            return
        self._handle = None
        self._panel.cancel.disabled = True
        if handle.error is None and handle.result is not None:
            self._show(handle.result)
        elif isinstance(handle.error, SimulationInterrupted):
            by = "by Kernel → Interrupt" if handle.interrupted else "by Cancel"
            kept = "; the picture is of the run before" if self._png else ""
            self._say(f"<strong>stopped</strong> {by}{kept}")
        else:
            self._fail(handle.error)

    def _fail(self, error: BaseException | None) -> None:
        self._error = error if isinstance(error, Exception) else LlmsimError(str(error))
        self._panel.cancel.disabled = True
        kept = "The picture is of the settings before." if self._png else ""
        self._say(told_problems(self._error, "not run", kept))

    def _show(self, result: Result) -> None:
        from llmsim.lab.picture import DPI, explored  # matplotlib loads here

        start = perf_counter()
        self._error = None
        if self._shown is not None and not self._judging:
            self._before = self._shown
        self._shown = result
        picture = explored(result, self._before)
        self._png, self._alt = put(self._panel.image, picture, DPI), picture.alt
        self._panel.numbers.value = numbers(result, self._before)
        end = perf_counter()
        self.seconds = {"simulated": result.wall_s, "drawn": end - start, "total": end - self._moved_s}
        self._say(self._sum_up(result))
        if self._saved.waits:
            self._saved.replace(self._bundle())

    def _sum_up(self, result: Result) -> str:
        made = len(result.replications)
        requests = sum(len(one.tables["requests"]["session"].values) for one in result.replications)
        over = f"{made} replication{'s' if made > 1 else ''}, {requests:,} requests"
        simulated, drawn = (format_duration(self.seconds[what]) for what in ("simulated", "drawn"))
        wanted = self._settings.base.replications
        judged = self._judging or self._replications >= wanted > 1
        verdict = f"<strong>{result.verdict}</strong>. " if judged else ""
        few = result.slo and made < wanted and not judged
        hint = " Too few for a verdict: press Judge." if few else ""
        return f"{verdict}{over}: simulated in {simulated}, drawn in {drawn}.{hint}"

    def _offer(self, make: Any) -> None:
        try:
            text = make()
        except LlmsimError as error:
            self._say(told_problems(error, "cannot be written"))
            return
        self._panel.text.value = text
        self._panel.text.layout.display = ""

    def _say(self, html: str) -> None:
        self._panel.status.value = f"<small>{html}</small>"

    # -- showing itself ----------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Show it, and let what is saved of it follow when the first run takes longer."""
        bundle = self._repr_mimebundle_()
        self._saved.show(bundle, final="<img" in bundle["text/html"])

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widgets; for where there are none, a table of the settings with picture and numbers.

        Who looks on has the controls at once, and the picture when there is one; who does not gets what is saved now.
        """
        self.wait(GLANCE_S if attended() else None)
        return self._bundle(**kwargs)

    def _bundle(self, **kwargs: Any) -> dict[str, Any]:
        table = numbers(self._shown, self._before) if self._shown is not None else ""
        alt = self._alt if self._png else self._no_picture()
        html = without_widgets(self._settings.base.name, self.values, self._png, alt, table)
        found: dict[str, Any] = self._panel.root._repr_mimebundle_(**kwargs) or {}
        return {**found, "text/html": html, "text/plain": repr(self)}

    def _no_picture(self) -> str:
        """Why there is none, as HTML."""
        if self._error is not None:
            return told_problems(self._error, "not run")
        return f"The first run {'was stopped' if self._handle is None else 'had not ended'} when this was saved."

    def __repr__(self) -> str:
        turned = ", ".join(f"{path}: {value}" for path, value in self.changes.items()) or "as it is"
        out = f", without {', '.join(self._settings.out)}" if self._settings.out else ""
        return f"<Explorer {self._settings.base.name}: {turned}{out}>"


def explore(scenario: ScenarioLike, controls: Wanted | None = None, *, replications: int = 1) -> Explorer:
    """Turn the knobs of a scenario and see at once what they do.

    A run goes on in the background after every move; the newest settings win. The run before stays as a dashed line,
    and its numbers beside the new ones.

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`.
    controls
        Paths of what can be turned (`llmsim.scenario.overrides` says how paths are written), or a mapping from path to
        its range as ``(low, high)``, to a list of choices, or to None. The path of a policy (``gateway.retry``) is a
        switch that takes it out. Default: rate, spike, cache threshold, retries, timeouts, the first fault, and every
        policy, as far as the scenario has them.
    replications
        Of each run while turning. The button "Judge" makes as many as the scenario says, for a verdict.

    Raises
    ------
    ScenarioError
        The scenario is wrong, or a path leads nowhere.

    Examples
    --------
    >>> found = explore(
    ...     {
    ...         "version": 1,
    ...         "clock": {"duration": "20s"},
    ...         "traffic": {"base_rate": "5/s"},
    ...         "providers": {"openai": {"ttft": "300ms"}},
    ...     },
    ...     ["traffic.base_rate"],
    ... )
    >>> found.set({"traffic.base_rate": "6.2/s"})
    >>> found.result.scenario.traffic.base_rate, found.changes
    (6.2, {'traffic.base_rate': '6.2/s'})
    >>> found.close()
    """
    explorer = Explorer(load(scenario), controls, replications)
    close_former(explorer)
    return explorer
