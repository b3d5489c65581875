"""``llmsim capacity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.answering import Answer, answering, or_partial
from llmsim.cli.failures import INTERRUPTED
from llmsim.cli.options import Backend, Jobs, Json, NoProgress, Overrides, Replications, Scheduler, Seed, Traceback
from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.tuning.capacity import Capacity, Probe

__all__ = ["capacity"]


def capacity(
    file: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file with SLOs.")],
    *,
    at_least: Annotated[
        str | None,
        typer.Option(metavar="LOAD", help="Exit with 1 if this is not reached: 40/s; users in a closed loop."),
    ] = None,
    tolerance: Annotated[
        str, typer.Option(metavar="SHARE", help="How near the load that passes and the one that fails are to be.")
    ] = "5%",
    seed: Seed = None,
    replications: Replications = None,
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    overrides: Overrides = None,
    json: Json = None,
    no_progress: NoProgress = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer, in one line.")] = False,
    allow_undecided: Annotated[
        bool,
        typer.Option("--allow-undecided", help="Exit with 0 instead of 3 when the bracket stays wider than asked for."),
    ] = False,
    traceback: Traceback = False,
) -> None:
    """Find the highest load that still meets the SLOs, what breaks first above it, and which limit binds there.

    The base rate (in a closed loop: the number of virtual users) is doubled or halved and then bisected; every load is
    judged as `llmsim run` would, with the same luck. A load whose verdict stays undecided counts as neither: the answer
    is then a bracket. More replications narrow it.

    \b
    Exit codes:
      0    the highest load that passes is known (with --at-least: it is reached)
      1    no load passes (with --at-least: that load fails)
      2    bad input: scenario, option, no SLO, or a policy that breaks its contract
      3    undecided: the bracket is wider than --tolerance, or --at-least lies in it (--allow-undecided makes it 0)
      4    llmsim itself broke
      130  interrupted; what is known so far is shown
    \b
    Examples:
      llmsim capacity scenarios/hacker-news-spike.yaml
      llmsim capacity spike.yaml --at-least 6/s --replications 40 --json -
      llmsim capacity spike.yaml --set gateway.retry.max_attempts=1 --tolerance 10%
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    with answering(file, _again(file), json=json, traceback=traceback) as answer:
        found = _found(
            answer,
            file,
            at_least,
            tolerance,
            overrides,
            shown=not (no_progress or quiet),
            seed=seed,
            replications=replications,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
        )
        wanted = _wanted(found, at_least)
        answer.code = INTERRUPTED if found.partial else _code(found, wanted, allow_undecided=allow_undecided)
        answer.page = {"file": str(file), "exit_code": answer.code, **found.to_dict()}
        put(found.headline if quiet else f"{found!r}\n", answer.to, painted=True)


def _found(
    answer: Answer,
    file: Path,
    at_least: str | None,
    tolerance: str,
    overrides: list[str] | None,
    *,
    shown: bool,
    **options: Any,
) -> Capacity:
    from llmsim.api import load
    from llmsim.cli.progress import progress
    from llmsim.errors import LlmsimError
    from llmsim.scenario.missing import missing_file
    from llmsim.tuning.capacity import capacity as search
    from llmsim.units import RATIO

    missing = missing_file(file)
    if missing is not None:
        raise missing
    scenario = load(file, overrides or ())
    try:
        share = RATIO.parse(tolerance)
    except ValueError as error:
        raise LlmsimError(f"--tolerance: {error}") from None
    start = _load(at_least, closed=scenario.traffic.executor == "constant-vus")
    with progress(scenario.name, wanted=shown) as report:
        run = (lambda at: report(at.run)) if report is not None else None
        probed = _tell if shown else None
        options |= {"tolerance": share, "start": start, "progress": run, "probed": probed}
        return or_partial(answer, lambda: search(scenario, **options))


def _load(text: str | None, *, closed: bool) -> float | None:
    """What ``--at-least`` says, per second or in users."""
    from llmsim.errors import LlmsimError
    from llmsim.units import COUNT, RATE

    if text is None:
        return None
    try:
        return float((COUNT if closed else RATE).parse(text))
    except ValueError as error:
        raise LlmsimError(f"--at-least: {error}") from None


def _wanted(found: Capacity, text: str | None) -> float | None:
    return _load(text, closed=found.unit == "users")


def _tell(probe: Probe) -> None:
    """A line as soon as a load is judged."""
    lines = ", ".join(probe.broken or probe.unsure)
    put(f"{probe.multiplier:.3g}x: {probe.verdict}{f' ({lines})' if lines else ''}", "stderr", painted=True)


def _code(found: Capacity, wanted: float | None, *, allow_undecided: bool) -> int:
    undecided = 0 if allow_undecided else 3
    if wanted is not None:
        if found.passes is not None and found.passes.load >= wanted:
            return 0
        return 1 if found.fails is not None and found.fails.load <= wanted else undecided
    if found.passes is None:
        return 1 if found.fails is not None else undecided
    return 0 if found.resolved or found.fails is None else undecided


def _again(file: Path) -> str:
    from llmsim.cli.replay import program

    return f"{program()} capacity {file}"
