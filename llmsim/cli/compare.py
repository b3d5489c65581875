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
    tolerance: Annotated[
        list[str] | None,
        typer.Option("--tolerance", metavar="METRIC=SHARE", help="What a simulation may be off by: ttft p(50)=15%."),
    ] = None,
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
    traceback: Traceback = False,
) -> None:
    """Compare two results of one scenario pair by pair: two gateways, two commits; or a simulation and a live run.

    Two simulations met the same luck, so what differs is the gateway's doing. A metric is called worse or better if the
    sign test over the pairs says so (5 % over all metrics, by Holm) and its median moved by at least --least-effect.
    Of a simulation (first) and a live run it is told, request by request, how far the simulation was off.

    \b
    Exit codes:
      0  nothing is worse; the simulation was within every tolerance
      1  something is worse; a metric of the simulation was off
      2  bad input
      3  too few requests to tell whether the simulation was off
    \b
    Examples:
      llmsim run spike.yaml --out before
      llmsim run spike.yaml --set gateway.retry.max_attempts=4 --out after
      llmsim compare before after
      llmsim compare simulated live --tolerance "ttft p(50)=15%"
      llmsim compare calm.yaml --live live.yaml --budget 0.50 --repeat 2 --out reality
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.live import LiveOptions
    from llmsim.cli.outputs import write_json
    from llmsim.cli.reality import both_worlds, read_tolerances
    from llmsim.errors import LlmsimError
    from llmsim.report.compare import compare as side_by_side
    from llmsim.report.comparison import Comparison
    from llmsim.report.reality.check import RealityCheck
    from llmsim.report.save import load_result

    found: Comparison | RealityCheck
    try:
        allowed = read_tolerances(tolerance or ())
        for_money = LiveOptions.of(live, budget, time_scale, rate_scale, yes=yes, without_faults=without_faults)
        if for_money is not None:
            if after is not None:
                raise LlmsimError("--live takes one scenario file, which it simulates and runs live")
            found = both_worlds(
                before, for_money, seed=seed, overrides=overrides or (), repeat=repeat, tolerances=allowed, out=out
            )
        elif after is None:
            raise LlmsimError("name two saved results, or one scenario file with --live live.yaml --budget 0.50")
        else:
            found = side_by_side(load_result(before), load_result(after), least_effect=least_effect, tolerances=allowed)
    except Exception as error:
        put(block(error, str(before), f"llmsim compare {before} {after or ''}".strip(), whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    put(str(found), "stderr" if json == "-" else "stdout", painted=True)
    if isinstance(found, RealityCheck):
        code = {"good": 0, "off": 1, "unsure": 3}[found.verdict]
    else:
        code = 1 if any(one.verdict == "worse" for one in found.differences) else 0
    raise typer.Exit(code if json is None else write_json(json, found.to_dict(), code))
