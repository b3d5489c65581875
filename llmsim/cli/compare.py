"""``llmsim compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.options import (
    BudgetUsd,
    Json,
    LiveFile,
    Out,
    Overrides,
    RateScale,
    Seed,
    TimeScale,
    Traceback,
    WithoutFaults,
    Yes,
)
from llmsim.cli.terminal import put, steady_streams

__all__ = ["compare"]

Tolerance = Annotated[
    list[str] | None,
    typer.Option("--tolerance", metavar="METRIC=SHARE", help="What a simulation may be off by: ttft p(50)=15%."),
]
Baseline = Annotated[
    list[Path] | None,
    typer.Option("--baseline", metavar="DIR", help="One more earlier live run: what runs differ by anyway."),
]
RunToRun = Annotated[
    str | None,
    typer.Option("--run-to-run", metavar="SHARE", help="What latencies of two live runs differ by anyway: 5%."),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="METRIC",
        help="Of two simulations: compare this, too; 'ttft p(90)', a sum as in llmsim tune.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page, with pictures; of comparisons with a live run."),
]


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="A directory that run or check wrote with --out; or a scenario.")
    ],
    after: Annotated[
        Path | None,
        typer.Argument(metavar="[AFTER]", help="Another one of the same scenario and seed.", show_default=False),
    ] = None,
    *,
    least_effect: Annotated[
        float, typer.Option("--least-effect", metavar="SHARE", min=0.0, help="By how much a metric must have moved.")
    ] = 0.05,
    metric: Metric = None,
    tolerance: Tolerance = None,
    baseline: Baseline = None,
    run_to_run: RunToRun = None,
    live: LiveFile = None,
    budget: BudgetUsd = None,
    time_scale: TimeScale = None,
    rate_scale: RateScale = None,
    without_faults: WithoutFaults = None,
    repeat: Annotated[
        int, typer.Option(metavar="N", min=1, max=2, help="Live runs: 2 shows what the machine itself repeats.")
    ] = 1,
    yes: Yes = False,
    seed: Seed = None,
    overrides: Overrides = None,
    out: Out = None,
    json: Json = None,
    html: Html = None,
    traceback: Traceback = False,
) -> None:
    """Compare two results of one scenario: two gateways, two commits; a simulation and a live run; two live runs.

    Two simulations met the same luck, so what differs is the gateway's doing. A metric is called worse or better if the
    sign test over the pairs says so (5 % over all metrics, by Holm) and its median moved by at least --least-effect.
    Of a simulation (first) and a live run it is told, request by request, how far the simulation was off. Of a scenario
    file and a live run the same: its providers and gateway are simulated under the traffic that ran live. Of two live
    runs, last week's and this week's, what changed; more earlier runs, each with --baseline, tell what two runs differ
    by when nothing changed, and a change is only what passes that.

    \b
    Exit codes:
      0  nothing is worse; the simulation was within every tolerance
      1  something is worse; a metric of the simulation was off
      2  bad input
      3  too few requests to tell whether the simulation was off, or whether a change is one
    \b
    Examples:
      llmsim run spike.yaml --out before
      llmsim run spike.yaml --set gateway.retry.max_attempts=4 --out after
      llmsim compare before after
      llmsim compare before after --metric "cost_per_ok + 0.02*false_hit_rate"
      llmsim compare simulated live --tolerance "ttft p(50)=15%" --html reality.html
      llmsim compare last-week this-week --least-effect 0.1
      llmsim compare last-week this-week --baseline monday --baseline tuesday --baseline wednesday
      llmsim compare calibrated.yaml this-week
      llmsim compare calm.yaml --live live.yaml --budget 0.50 --repeat 2 --out reality
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli import reality
    from llmsim.cli.live import LiveOptions
    from llmsim.cli.outputs import check_file, write_json
    from llmsim.errors import LlmsimError
    from llmsim.report.comparison import Comparison
    from llmsim.report.reality.check import RealityCheck
    from llmsim.report.reality.drift import Drift

    found: Comparison | RealityCheck | Drift
    earlier = baseline or ()
    words = reality.typed(before, after, overrides or (), live=live, budget=budget, repeat=repeat, baseline=earlier,
                  run_to_run=run_to_run, metrics=metric or ())  # fmt: skip
    try:
        if html is not None:
            check_file("--html", html)
        allowed = reality.read_tolerances(tolerance or ())
        known = reality.read_share("--run-to-run", run_to_run)
        for_money = LiveOptions.of(live, budget, time_scale, rate_scale, yes=yes, without_faults=without_faults)
        if for_money is not None:
            if after is not None:
                raise LlmsimError("--live takes one scenario file, which it simulates and runs live")
            reality.not_of_one_file(earlier, known, metric or ())
            found = reality.both_worlds(
                before, for_money, seed=seed, overrides=overrides or (), repeat=repeat, tolerances=allowed, out=out
            )
        elif after is None:
            raise LlmsimError("name two saved results, or one scenario file with --live live.yaml --budget 0.50")
        else:
            found = reality.saved(before, after, overrides or (), least_effect, allowed, earlier, known, metric or ())
        put(str(found), "stderr" if json == "-" else "stdout", painted=True)  # whatever becomes of the page
        if html is not None:
            reality.write_page(found, html, words)
    except Exception as error:
        put(block(error, str(before), words, whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    code = reality.exit_code(found)
    raise typer.Exit(code if json is None else write_json(json, found.to_dict(), code))
