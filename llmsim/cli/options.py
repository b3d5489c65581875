"""Options that several commands take, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowUndecided",
    "Backend",
    "BudgetUsd",
    "Costs",
    "Gateway",
    "Jobs",
    "Json",
    "LiveFile",
    "NoProgress",
    "Otlp",
    "Out",
    "Overrides",
    "Profile",
    "Prometheus",
    "Quiet",
    "RateScale",
    "Replications",
    "Scheduler",
    "Seed",
    "Stream",
    "TimeScale",
    "Traceback",
    "WithoutFaults",
    "Yes",
]

Seed = Annotated[int | None, typer.Option(metavar="N", help="In place of the scenario's seed.")]
Replications = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="The most replications, in place of the scenario's.")
]
Gateway = Annotated[
    str,
    typer.Option(
        metavar="MODULE:NAME",
        help="Your gateway, in place of the scenario's: my_app.gateway:gateway.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Processes; the result is the same. [one per core if there is much to do]"),
]
Backend = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="processes, or dask with --scheduler; the result is the same.", show_default=False
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run on this Dask cluster: tcp://127.0.0.1:8786.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change the scenario: gateway.retry.max_attempts=2; gateway.retry=off. Repeatable.",
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is standard output.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Save tables and result there; several files get a folder each.")
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with pictures, which opens offline and prints."),
]
Otlp = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write OpenTelemetry (OTLP JSON lines) to FILE.metrics.jsonl, FILE.traces.jsonl."
    ),
]
Prometheus = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write Prometheus text, as a scrape at the end would see it.")
]
Costs = Annotated[bool, typer.Option("--costs", help="Show the bill item by item, and what a month would cost.")]
Profile = Annotated[
    bool, typer.Option("--profile", help="Show where the wall time went, by policy and provider; one process.")
]
Stream = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="For millions of requests: write tables to DIR while it runs. Killed, the same command goes on after the "
        "last finished replication; the one it was in is simulated from its seed again, to the same bytes, "
        "since coroutines cannot be saved.",
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Do not show how far it is.")]
LiveFile = Annotated[
    Path | None,
    typer.Option(metavar="LIVE.YAML", help="Call these live providers, in real time, instead of simulating."),
]
BudgetUsd = Annotated[
    float | None, typer.Option("--budget", metavar="USD", help="The most a live run may spend; it has to be given.")
]
TimeScale = Annotated[
    float | None, typer.Option(metavar="X", help="Live: the course (stages, faults) takes X times as long.")
]
RateScale = Annotated[float | None, typer.Option(metavar="X", help="Live: X times as many arrivals a second.")]
WithoutFaults = Annotated[
    list[str] | None,
    typer.Option(
        "--without-faults",
        metavar="NAME",
        help="Live: do not inject this fault; all; or simulated-only, what a live provider cannot suffer. Repeatable.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Live: do not ask before spending.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict, one line a file.")]
AllowUndecided = Annotated[
    bool, typer.Option("--allow-undecided", help="Exit with 0 instead of 3 when replications ran out.")
]
Traceback = Annotated[bool, typer.Option("--traceback", help="With an error, show the whole traceback.")]
