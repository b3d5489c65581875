"""``llmsim sweep``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.answering import Answer, answering, or_partial
from llmsim.cli.failures import INTERRUPTED
from llmsim.cli.options import Backend, Gateway, Jobs, Json, NoProgress, Overrides, Scheduler, Seed, Traceback
from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsim.tuning.sweep import SweepProgress
    from llmsim.tuning.swept import Sweep

__all__ = ["sweep"]

Over = Annotated[
    list[str],
    typer.Option(
        "--over",
        metavar="PATH=VALUES",
        help="What varies: gateway.retry.max_attempts=1,2,3. Repeatable.",
        show_default=False,
    ),
]
DesignOption = Annotated[str, typer.Option(metavar="NAME", help="grid, latin-hypercube or sobol.")]
Points = Annotated[int | None, typer.Option(metavar="N", min=1, help="How many points a design draws.")]
Each = Annotated[int | None, typer.Option("--replications", metavar="N", min=1, help="Of every point. [6]")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="METRIC",
        help="What to show and compare: 'ttft p(95)', error_rate, a sum as in llmsim tune. Repeatable.",
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE.parquet", help="Keep every run there as it comes; begun again, it goes on.")
]
BestOf = Annotated[str, typer.Option("--best", metavar="METRIC", help="Name the best point that meets the SLOs.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw a panel for each metric.")]


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file.")],
    *,
    over: Over,
    design: DesignOption = "grid",
    points: Points = None,
    replications: Each = None,
    metric: Metrics = None,
    out: Out = None,
    best: BestOf = "",
    plot: Plot = None,
    seed: Seed = None,
    gateway: Gateway = "",
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    overrides: Overrides = None,
    json: Json = None,
    no_progress: NoProgress = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
    traceback: Traceback = False,
) -> None:
    """Run a scenario under many settings, all on the same luck, and compare them.

    VALUES are values as --set takes them (1,2,3), whole policies ({max_attempts: 2},off), or a range: "300ms..2s" for a
    design that draws from it, "300ms..2s in 5" for five values of it, "300ms..2s in 5 log" at equal ratios. All points
    are checked before the first run. Every one makes the same replications, whose luck is the same for all: a
    difference is the settings' own, and is asked for in pairs.

    With --out, each run is on the disk as soon as it is done. After Ctrl-C, a crash or a kill the same command does
    only what is missing, and writes the same file; with more --replications it adds to what is there.

    \b
    Exit codes:
      0    all points were run
      2    bad input: scenario, option, a value that does not fit, or a policy that breaks its contract
      4    llmsim itself broke
      130  interrupted; what there is by then is shown, and kept with --out
    \b
    Examples:
      llmsim sweep scenarios/brown-out.yaml --over gateway.retry.max_attempts=1,2,3
      llmsim sweep spike.yaml --over "upstream.timeout.ttft=1s..8s in 4 log" --over gateway.retry=on,off
      llmsim sweep spike.yaml --over gateway.preset=envoy,portkey --metric "ttft p(95)" --plot presets.png
      llmsim sweep spike.yaml --over upstream.timeout.ttft=1s..8s --over traffic.base_rate=2/s..8/s \\
        --design sobol --points 64 --out spike.parquet --best cost_per_ok
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    again = shlex.join(["llmsim", "sweep", str(file), *(word for one in over for word in ("--over", one))])
    with answering(file, again, json=json, traceback=traceback) as answer:
        _check(plot)
        found = _found(
            answer,
            file,
            over,
            gateway,
            shown=not (no_progress or quiet),
            design=design,
            points=points,
            replications=replications,
            metrics=_metrics(metric, best),
            out=out,
            seed=seed,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
            overrides=overrides or (),
        )
        answer.code = INTERRUPTED if found.partial else 0
        answer.page = {"file": str(file), "exit_code": answer.code, **found.to_dict()}
        if not quiet:
            put(repr(found), answer.to, painted=True)
        _close(found, best, plot, answer)


def _close(found: Sweep, best: str, plot: Path | None, answer: Answer) -> None:
    """What comes below the table: the best point, the picture, and where things are."""
    if best and found.rows:
        chosen = found.best(best)
        put(f"\n{chosen!r}", answer.to)
        answer.page["best"] = {
            "metric": chosen.metric,
            "point": chosen.point.number,
            "settings": list(chosen.point.settings),
        }
    if plot is not None and found.rows:
        plot.write_bytes(found.plot().png())
        put(f"Drawn: {plot}", answer.to)
    if found.partial:
        total = len(found.points) * found.replications
        kept = "they are kept: the same command goes on from there" if found.out else "--out keeps them next time"
        put(f"Interrupted after {len(found.rows):,} of {total:,} runs; {kept}.", "stderr")
    elif found.out is not None:
        put(f"Written: {found.out}", answer.to)


def _check(plot: Path | None) -> None:
    """That what is asked for can be written, before hours of work."""
    from llmsim.cli.outputs import check_file
    from llmsim.errors import LlmsimError

    if plot is not None:
        check_file("--plot", plot)
        if plot.suffix != ".png":
            raise LlmsimError(f"--plot is {plot}; name a file that ends with .png")


def _found(answer: Answer, file: Path, over: list[str], gateway: str, *, shown: bool, **options: Any) -> Sweep:
    from llmsim.api import load
    from llmsim.chaos.named import with_named_gateway
    from llmsim.scenario.missing import missing_file
    from llmsim.tuning.sweep import sweep as run

    missing = missing_file(file)
    if missing is not None:
        raise missing
    ways = _over(over)
    scenario = with_named_gateway(load(file, options.pop("overrides")), gateway)
    with _progress(scenario.name, wanted=shown) as report:
        return or_partial(answer, lambda: run(scenario, ways, progress=report, **options))


def _over(texts: list[str]) -> dict[str, str]:
    """``--over PATH=VALUES`` by path."""
    from llmsim.errors import Problem, ScenarioError

    found: dict[str, str] = {}
    for text in texts:
        path, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not path or not values:
            hint = "Write it like gateway.retry.max_attempts=1,2,3."
            raise ScenarioError([Problem(f"{text!r} is not path=values", hint=hint)], "--over")
        if path in found:
            raise ScenarioError([Problem("stands twice", path, hint="Put all its values into one --over.")], "--over")
        found[path] = values
    return found


def _metrics(names: list[str] | None, best: str) -> list[str] | None:
    """What to measure: also what the best point is asked for, so that it is known as a metric before the first run."""
    from llmsim.report.paired import COMPARED
    from llmsim.tuning.swept import SHOWN

    if not best or (not names and best in COMPARED):
        return names
    return list(dict.fromkeys([*(names or SHOWN), best]))


@contextmanager
def _progress(name: str, *, wanted: bool) -> Iterator[Callable[[SweepProgress], None] | None]:
    from llmsim.cli.line import Line

    line = Line(wanted=wanted)
    try:
        yield (lambda at: line(f"{name}: {at}")) if wanted else None
    finally:
        line.clear()
