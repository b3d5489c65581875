"""`compare_policies`: several gateways on one scenario, side by side under the same luck."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsim.api import RunProgress, run
from llmsim.errors import LlmsimError
from llmsim.lab.cells import close_former
from llmsim.lab.dashboard import Dashboard
from llmsim.lab.handle import GLANCE_S, Background
from llmsim.lab.saved import Saved
from llmsim.parallel import workers_of
from llmsim.report.comparison import Comparison
from llmsim.report.figures import figure
from llmsim.report.grid import Grid
from llmsim.report.layout import MARKS
from llmsim.report.live_display import NotebookProgress
from llmsim.report.notebook import attended, in_notebook
from llmsim.report.paired import COMPARED, FEWEST_PAIRS, HOW, Difference, values_by_metric
from llmsim.report.verdict import median
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.spec import Scenario
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture
    from llmsim.report.result import Result

__all__ = ["PolicyComparison", "compare_policies"]

_COLUMNS = ("error_rate", "ttft p(50)", "ttft p(95)", "cost_per_ok", "retry_amplification", "goodput")
_SMALL = 72  # dots per inch of the pictures that go into a page
_EVERY_S = 0.25


class PolicyComparison:
    """Results by name, and what sets them apart; shows itself as table and forest plot.

    Parameters
    ----------
    results
        By name, of the same traffic and seed; or the work in the background that makes them.
    base
        Name of what the others are compared with.
    """

    def __init__(self, results: Mapping[str, Result] | Background[dict[str, Result]], base: str) -> None:
        self._handle = results if isinstance(results, Background) else None
        self._results = None if isinstance(results, Background) else dict(results)
        self._dashboards: list[Dashboard] = []
        self._saved = Saved()
        self.base = base

    @property
    def results(self) -> dict[str, Result]:
        """By name, in the order in which the gateways were given; waits for runs that go on.

        Raises
        ------
        SimulationInterrupted
            They were stopped; ``.partial`` is the result that was being made.
        """
        if self._results is None:
            assert self._handle is not None
            self._results = _awaited(self._handle)
        return self._results

    @property
    def table(self) -> Grid:
        """Verdict and key numbers of each: medians over the replications."""
        rows = []
        for name, result in self.results.items():
            values = values_by_metric(result)
            numbers = [figure(median(values[one]), COMPARED[one].unit) for one in _COLUMNS]
            rows.append((name, f"{MARKS[result.verdict]} {result.verdict}", *numbers))
        pairs = min(result.complete for result in self.results.values())
        notes = () if pairs >= FEWEST_PAIRS else (f"It takes {FEWEST_PAIRS} replications to call anything changed.",)
        title = f"{len(self.results)} gateways, {counted(pairs, 'replication')} each, under the same luck"
        return Grid(title, ("gateway", "verdict", *_COLUMNS), rows, 2, notes)

    @property
    def differences(self) -> Grid:
        """How far each is from the base, metric by metric, and how surely: what `forest` draws, in figures."""
        from llmsim.report.plots.forest import differences

        rows = [
            (name, one.name, one.shown()[-1], one.between(), f"{one.p:.2g}", _word(one))
            for name, found in differences(self.results, self.base).items()
            for one in (found[metric] for metric in _COLUMNS if metric in found)
        ]
        head = ("gateway", "metric", "change", "95 %", "p (Holm)", "")
        return Grid(f"Against {self.base}, pair by pair", head, rows, 2, (HOW,))

    def against(self, name: str, base: str | None = None) -> Comparison:
        """One of them and the base, metric by metric, and where the two part."""
        return Comparison.of(self._named(base or self.base), self._named(name))

    def forest(self, metrics: Sequence[str] | None = None, base: str | None = None) -> Picture:
        """Paired differences from the base with their intervals, as a picture."""
        from llmsim.report.plots.canvas import Picture
        from llmsim.report.plots.forest import forest

        found = forest(self.results, metrics, base or self.base)
        assert isinstance(found, Picture)
        return found

    def timelines(self) -> Picture:
        """Load and outcomes of each over the measured time, small, under one scale."""
        from llmsim.report.plots.canvas import bare, style
        from llmsim.report.plots.timeline import outcomes

        across = min(3, len(self.results))
        down = -(-len(self.results) // across)
        with style():
            picture = bare(3.3 * across, 1.9 * down + 0.2)
            axes = picture.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
            for ax, (name, result) in zip(axes, self.results.items(), strict=False):
                outcomes(result, ax=ax)
                legend = ax.get_legend()
                if legend is not None:
                    legend.remove()
                ax.set_title(f"{MARKS[result.verdict]} {name}", fontsize=9)
                ax.set_xlabel("")
            for number, ax in enumerate(axes):
                ax.set_visible(number < len(self.results))
                ax.label_outer()
                ax.tick_params(labelbottom=number + across >= len(self.results))  # where nothing is below
            tallest = max(ax.dataLim.y1 for ax in axes)
            axes[0].set_ylim(0, 1.05 * tallest)  # of all of them: they share it
            _legend(picture, list(self.results.values()))
        told = [f"{name}: errors {figure(one.metrics['error_rate'], 'ratio')}" for name, one in self.results.items()]
        picture.alt = f"Outcomes over time. {'; '.join(told)}."
        return picture

    def dashboard(self) -> Any:
        """The same with a choice of what the others are compared with, as a widget; it does not wait for the runs."""
        return self._shown().root

    def _shown(self) -> Dashboard:
        self._dashboards.append(Dashboard(self, self._handle if self._results is None else None))
        return self._dashboards[-1]

    def close(self) -> None:
        """Stop runs that go on, and take widgets away that were shown."""
        if self._handle is not None:
            self._handle.cancel()
        for one in self._dashboards:
            one.close()

    def _named(self, name: str) -> Result:
        if name not in self.results:
            raise LlmsimError(f"there is no gateway {name!r} here; there are {', '.join(self.results)}")
        return self.results[name]

    def _ipython_display_(self) -> None:
        """Show it; what is saved of it follows when the runs have ended."""
        bundle = self._repr_mimebundle_()
        self._saved.show(bundle, final="<img" in bundle["text/html"])

    def ended(self, dashboard: Dashboard) -> None:
        """Told by a dashboard that was shown before it had its runs, and has them now."""
        if self._saved.waits:
            found: dict[str, Any] = dashboard.root._repr_mimebundle_() or {}
            self._saved.replace({**found, "text/html": self._repr_html_(), "text/plain": repr(self)})

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Table and forest; while runs go on, how far they are, which becomes a dashboard."""
        if self._handle is not None and not self._handle.wait(GLANCE_S):
            found: dict[str, Any] = self._shown().root._repr_mimebundle_(**kwargs) or {}
            text = f"{self._handle.name}: the runs had not ended when this was saved"
            return {**found, "text/html": f"<p>{escape(text)}</p>", "text/plain": text}
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"{self.table}\n\n{self.differences}"

    def _repr_html_(self) -> str:
        picture = self.forest()
        image = base64.b64encode(picture.png(_SMALL)).decode()
        table = self.table._repr_html_() + self.differences._repr_html_()
        return f'{table}<p><img alt="{escape(picture.alt)}" src="data:image/png;base64,{image}"></p>'


def _word(one: Difference) -> str:
    return "not told" if one.change and one.pairs < FEWEST_PAIRS else one.verdict  # "same" would be a claim


def _legend(picture: Picture, results: Sequence[Result]) -> None:
    from matplotlib.patches import Patch

    from llmsim.report.plots.bins import outcome_bins
    from llmsim.report.plots.canvas import CLASS_STYLE
    from llmsim.telemetry.outcomes import CLASSES

    seen = {name for result in results for name in outcome_bins(result).classes}
    handles = []
    for one in CLASSES:
        if one.name in seen:
            colour, hatch = CLASS_STYLE[one.name]
            handles.append(Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=one.label))
    picture.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))


def compare_policies(
    gateways: Mapping[str, Any] | Sequence[Any],
    scenario: ScenarioLike | None = None,
    *,
    base: str | None = None,
    replications: int = 10,
    jobs: int = 1,
    progress: Callable[[str, RunProgress], object] | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
) -> PolicyComparison:
    """Run several gateways on the same traffic, providers, faults and luck.

    Parameters
    ----------
    gateways
        By name: what `Scenario.with_gateway` takes (a `Gateway`, a list of policies, an ``async def``), or a `Scenario`
        or its file, of the same traffic, clock and seed. In a list each goes by its own name: of the scenario, the
        file, the function, or the kinds of its policies.
    scenario
        What gateways run on; not needed if all of them are scenarios.
    base
        Name of what the others are compared with; default: the first.
    replications
        Of each, all of them made, so that there are pairs; it takes 9 to call a single metric changed.
    jobs
        Processes to use; -1: one per core.
    progress
        Called with the name of the gateway and a `RunProgress`. None: in a notebook that somebody looks at the runs go
        on in the background, and only who asks for ``.results``, a table or a picture waits for them; one that is
        executed for later gets a line while it waits.
    backend, scheduler
        ``"dask"`` and its scheduler's address, in place of processes here; see `llmsim.run`.

    Raises
    ------
    LlmsimError
        The scenario is wrong, the gateways do not run on the same traffic, or there is no such cluster.
    SimulationInterrupted
        Ctrl-C or Kernel → Interrupt; ``.partial`` is the result that was being made.
    """
    workers_of(backend, scheduler, jobs)  # what is wrong there is said here, not in the background
    gateways = gateways if isinstance(gateways, Mapping) else _by_name(gateways)
    if len(gateways) < 2:
        raise LlmsimError("a comparison needs two gateways or more, by name")
    first = next(iter(gateways)) if base is None else base
    if first not in gateways:
        raise LlmsimError(f"base is {first!r}, and there is no gateway of that name; there are {', '.join(gateways)}")
    on = None if scenario is None else load(scenario)
    stories = {name: _story(name, gateway, on) for name, gateway in gateways.items()}
    _check_the_same(stories, first)

    how: dict[str, Any] = {"replications": replications, "jobs": jobs, "backend": backend, "scheduler": scheduler}

    def work(report: Callable[[RunProgress], object]) -> dict[str, Result]:
        whole = _Whole(len(stories))
        return {
            name: _all_of(story, _told(name, number, progress, whole, report), **how)
            for number, (name, story) in enumerate(stories.items())
        }

    if progress is None and attended():
        compared = PolicyComparison(Background(work, " against ".join(stories)), first)
        close_former(compared)
        return compared
    line = NotebookProgress()
    try:
        return PolicyComparison(work(line if in_notebook() else _silent), first)
    finally:
        line.close()


def _silent(_: RunProgress) -> None:
    """Nobody looks."""


def _awaited(handle: Background[dict[str, Result]]) -> dict[str, Result]:
    """What comes of it, with a line that says how far it is; an interrupt stops it."""
    line = NotebookProgress()
    try:
        while not handle.wait(_EVERY_S):
            if handle.progress is not None:
                line(handle.progress)
    except KeyboardInterrupt:  # in the wait, or while the line was drawn
        handle.interrupt()
        handle.wait()
    finally:
        line.close()
    return handle.get()


def _by_name(gateways: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in gateways:
        name = _name(one)
        if name in found:
            raise LlmsimError(
                f"two of them go by the name {name!r}; give names: compare_policies({{name: gateway, …}})"
            )
        found[name] = one
    return found


def _name(gateway: Any) -> str:
    if isinstance(gateway, str):
        return Path(gateway).stem
    if isinstance(gateway, Scenario):
        return gateway.name
    named = getattr(gateway, "__name__", "")
    specs = gateway if isinstance(gateway, list | tuple) else getattr(gateway, "policies", ())
    return named or " → ".join(getattr(one, "kind", None) or type(one).__name__ for one in specs) or "no policies"


def _story(name: str, gateway: Any, on: Scenario | None) -> Scenario:
    if isinstance(gateway, Scenario):
        return gateway
    if isinstance(gateway, str):
        return load(gateway)
    if on is None:
        raise LlmsimError(f"{name!r} is a gateway; say on what it is to run: compare_policies({{…}}, scenario)")
    return on.with_gateway(gateway)


def _all_of(story: Scenario, told: Callable[[RunProgress], object], *, replications: int, **how: Any) -> Result:
    """Every replication: a run that is judged on its way stops when that is clear, and then there are no pairs."""
    from llmsim.report.result import Result

    made = run(dataclasses.replace(story, slo={}), replications=replications, progress=told, **how)
    judged = dataclasses.replace(story, replications=replications)
    return Result(judged, made.replications, wall_s=made.wall_s, requested=replications)


def _check_the_same(stories: Mapping[str, Scenario], first: str) -> None:
    wanted = stories[first]
    for name, story in stories.items():
        for what in ("traffic", "clock", "seed"):
            if getattr(story, what) != getattr(wanted, what):
                raise LlmsimError(f"{first!r} and {name!r} differ in {what}, so they cannot be compared pair by pair")


def _told(
    name: str, number: int, progress: Any, whole: _Whole, report: Callable[[RunProgress], object]
) -> Callable[[RunProgress], object]:
    if progress is not None:
        return lambda at: progress(name, at)
    return lambda at: report(whole.at(number, at))


class _Whole:
    """How far several runs are, as if they were one."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._before_s = 0.0
        self._last: tuple[int, float] = (0, 0.0)

    def at(self, number: int, at: RunProgress) -> RunProgress:
        """Of all of them, when run `number` is there."""
        if number != self._last[0]:
            self._before_s += self._last[1]
        self._last = (number, at.wall_s)
        return at._replace(
            replications=number * at.most + at.replications,
            most=self._runs * at.most,
            wall_s=self._before_s + at.wall_s,
        )
