"""``llmsim run``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from llmsim.cli.failures import BAD_INPUT, INTERRUPTED
from llmsim.cli.options import (
    AllowUndecided,
    Backend,
    BudgetUsd,
    Costs,
    Gateway,
    Html,
    Jobs,
    Json,
    LiveFile,
    NoProgress,
    Otlp,
    Out,
    Overrides,
    Profile,
    Prometheus,
    Quiet,
    RateScale,
    Replications,
    Scheduler,
    Seed,
    Stream,
    TimeScale,
    Traceback,
    WithoutFaults,
    Yes,
)
from llmsim.cli.terminal import put, steady_streams
from llmsim.errors import LlmsimError

if TYPE_CHECKING:
    from llmsim.cli.batch import Batch

__all__ = ["run"]


def run(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", show_default=False, help="Scenario files.")
    ] = None,
    *,
    seed: Seed = None,
    replications: Replications = None,
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    overrides: Overrides = None,
    gateway: Gateway = "",
    live: LiveFile = None,
    budget: BudgetUsd = None,
    time_scale: TimeScale = None,
    rate_scale: RateScale = None,
    without_faults: WithoutFaults = None,
    yes: Yes = False,
    json: Json = None,
    out: Out = None,
    html: Html = None,
    stream: Stream = None,
    otlp: Otlp = None,
    prometheus: Prometheus = None,
    costs: Costs = False,
    profile: Profile = False,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    allow_undecided: AllowUndecided = False,
    traceback: Traceback = False,
) -> None:
    """Simulate scenarios and judge their SLOs.

    Replications run until every SLO is decided or the scenario's number is used up. Before that comes the load
    (rho) each provider would see. With --json - standard output carries one JSON object for one file, an array for
    several, and everything else goes to standard error. With --live the same scenario runs once on live providers.

    \b
    Exit codes (of several files the worst counts: 4, 2, 1, 3, 0):
      0    every SLO holds (or there is none)
      1    an SLO is broken
      2    bad input: scenario, option, or a policy that breaks its contract; or nothing found
      3    undecided: it would take more replications, it was live (which is one), or the budget of a live run was
           used up (--allow-undecided makes it 0)
      4    llmsim itself broke
      130  interrupted; what was simulated so far is shown and saved
    \b
    Examples:
      llmsim run scenarios/hacker-news-spike.yaml
      llmsim run scenarios/*.yaml --json results.json --out out
      llmsim run spike.yaml --html spike.html
      llmsim run spike.yaml --costs --otlp out/spike.jsonl --prometheus out/spike.prom
      llmsim run spike.yaml --replications 1 --profile
      llmsim run day.yaml --stream out/day
      llmsim run calm.yaml --live live.yaml --budget 0.50 --rate-scale 0.1
      llmsim run spike.yaml --replications 400 --backend dask --scheduler tcp://127.0.0.1:8786
      llmsim run spike.yaml --seed 8 --replications 40 --set gateway.retry.max_attempts=2
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.batch import Batch, Options
    from llmsim.cli.live import LiveOptions

    try:
        for_money = LiveOptions.of(live, budget, time_scale, rate_scale, yes=yes, without_faults=without_faults)
    except LlmsimError as error:
        put(str(error), "stderr")
        raise typer.Exit(BAD_INPUT) from None
    options = Options(
        files=tuple(files or ()),
        seed=seed,
        replications=replications,
        jobs=jobs,
        backend=backend,
        scheduler=scheduler,
        overrides=tuple(overrides or ()),
        gateway=gateway,
        json=json,
        out=out,
        html=html,
        stream=stream,
        otlp=otlp,
        prometheus=prometheus,
        costs=costs,
        profile=profile,
        progress=not (no_progress or quiet),
        quiet=quiet,
        allow_undecided=allow_undecided,
        traceback=traceback,
        live=for_money,
    )
    if not options.files:
        _nothing_named()
    _end_with(Batch(options))


def _end_with(batch: Batch) -> NoReturn:
    try:
        code = batch.all()
    except KeyboardInterrupt:
        put("interrupted", "stderr")
        code = INTERRUPTED
    if batch.abandoned:
        _leave()
    raise typer.Exit(code)


def _nothing_named() -> NoReturn:
    from llmsim.cli.files import nothing_named

    put(nothing_named(), "stderr")
    raise typer.Exit(BAD_INPUT)


def _leave() -> NoReturn:
    """Go now: the interpreter's own way out would wait for the policy that spins in its thread."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)
