"""``llmsim compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.options import Json, Traceback
from llmsim.cli.terminal import put, steady_streams

__all__ = ["compare"]


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A directory that run or check wrote with --out.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one of the same scenario and seed.")],
    *,
    least_effect: Annotated[
        float, typer.Option("--least-effect", metavar="SHARE", min=0.0, help="By how much a metric must have moved.")
    ] = 0.05,
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
      llmsim compare simulated live
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.outputs import write_json
    from llmsim.report.compare import compare as side_by_side
    from llmsim.report.reality.check import RealityCheck
    from llmsim.report.save import load_result

    try:
        found = side_by_side(load_result(before), load_result(after), least_effect=least_effect)
    except Exception as error:
        put(block(error, str(before), f"llmsim compare {before} {after}", whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    put(str(found), "stderr" if json == "-" else "stdout", painted=True)
    if isinstance(found, RealityCheck):
        code = {"good": 0, "off": 1, "unsure": 3}[found.verdict]
    else:
        code = 1 if any(one.verdict == "worse" for one in found.differences) else 0
    raise typer.Exit(code if json is None else write_json(json, found.to_dict(), code))
