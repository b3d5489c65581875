"""``llmsim search``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.failures import INTERRUPTED, block, code_of, page_of, worst
from llmsim.cli.options import Backend, Gateway, Jobs, Json, NoProgress, Quiet, Scheduler, Seed, Traceback
from llmsim.cli.terminal import put, steady_streams

if TYPE_CHECKING:
    from llmsim.chaos.found import Searched

__all__ = ["search"]

_Words = list[str] | None

Budget = Annotated[int, typer.Option(metavar="RUNS", help="The most replications to simulate, for everything.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="What to write. [beside the scenario, NAME-found.yaml]"),
]
MaxFaults = Annotated[int, typer.Option(metavar="N", help="The most faults in one schedule.")]
MaxFaultTime = Annotated[
    str, typer.Option(metavar="SHARE", help="Of the measured time, the most that may have a fault in it.")
]
Kinds = Annotated[_Words, typer.Option(metavar="KIND,…", help="What may happen: latency, stall, … [all]")]
Providers = Annotated[_Words, typer.Option(metavar="NAME,…", help="To whom: providers, caches with a store. [all]")]
Slo = Annotated[_Words, typer.Option(metavar="KEY,…", help="Which SLOs count: ttft, error_rate. [all]")]
Probes = Annotated[
    int,
    typer.Option("--replications", metavar="N", help="Runs of a schedule until it counts as breaking something."),
]
Instead = Annotated[bool, typer.Option("--instead", help="In place of the scenario's own faults. [on top of them]")]


def search(
    file: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file with SLOs that hold.")],
    *,
    budget: Budget = 500,
    output: Output = None,
    seed: Seed = None,
    max_faults: MaxFaults = 3,
    max_fault_time: MaxFaultTime = "50%",
    kinds: Kinds = None,
    providers: Providers = None,
    slo: Slo = None,
    replications: Probes = 2,
    instead: Instead = False,
    gateway: Gateway = "",
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    json: Json = None,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Search for faults that break an SLO, make them as few, short and weak as can be, and write them as a scenario.

    What goes wrong, with whom, when, how long and how badly is drawn at random, within what real incidents look like:
    shares of failing calls that providers have published, a quarter of the run at most each, no two whole incidents in
    one schedule. The worst is shrunk until nothing smaller breaks the same line, and then judged as `llmsim run` would:
    what does not hold up is not reported. The file that is written fails until the gateway is mended: commit it.

    Kinds: latency, rate_limit, capacity, throttle (429), abort (503), stall, break, outage; of stores: delay, abort,
    lose_state, outage. The same seed and budget give the same file, whatever --jobs and --backend.

    \b
    Exit codes:
      0    nothing found within the budget
      1    found; the file is written
      2    bad input: scenario, option, no SLO, or one that fails without any fault
      4    llmsim itself broke
      130  interrupted; what was found so far is shown and written
    \b
    Examples:
      llmsim search scenarios/hacker-news-spike.yaml
      llmsim search checkout.yaml --gateway my_app.gateway:gateway --budget 200
      llmsim search checkout.yaml --slo error_rate --providers openai --kinds stall,abort
      llmsim search checkout.yaml --instead --max-faults 1 -o scenarios/checkout-regression.yaml
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    to_stdout = json == "-"
    where: Any = "stderr" if to_stdout else "stdout"
    place = output if output is not None else file.with_name(f"{file.name.partition('.')[0]}-found.yaml")
    code, abandoned = 0, False
    try:
        _check(place, json)
        found, abandoned = _found(
            file,
            shown=not (no_progress or quiet),
            budget=budget,
            seed=seed,
            max_faults=max_faults,
            max_fault_time=_share(max_fault_time),
            kinds=_words(kinds),
            providers=_words(providers),
            slo=_words(slo),
            replications=replications,
            instead=instead,
            gateway=gateway,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
        )
        code = INTERRUPTED if found.partial else 1 if found.found else 0
        page = {"file": str(file), "exit_code": code, **found.to_dict(), "written": None}
        put(found.headline if quiet else repr(found), where, painted=True)
        if found.schedule:
            page["written"] = str(found.save(place))
            put(f"Written: {place}\nSee it again: {_again(place, gateway)}", where)
    except Exception as error:
        put(block(error, str(file), f"llmsim search {file}", whole=traceback), "stderr")
        code = worst([code, code_of(error)])
        page = page_of(error, str(file)) | {"exit_code": code}
    if json is not None:
        from llmsim.cli.outputs import write_json

        code = write_json(json, page, code)
    if abandoned:
        os._exit(INTERRUPTED)  # the interpreter's own way out would wait for the policy that spins in its thread
    raise typer.Exit(code)


def _check(place: Path, json: str | None) -> None:
    """That what is found can be written, and takes the place of nothing that was written by hand."""
    from llmsim.chaos.regression import FOUND_BY
    from llmsim.cli.outputs import check_file
    from llmsim.errors import LlmsimError

    check_file("--output", place)
    if json is not None and json != "-":
        check_file("--json", Path(json), "name a file, or - for standard output")
    if place.exists() and not place.read_text(encoding="utf-8", errors="replace").startswith(FOUND_BY):
        raise LlmsimError(f"--output {place}: there is a file already, and not one of a search; name another")


def _found(file: Path, *, shown: bool, **options: Any) -> tuple[Searched, bool]:
    """The answer, or as much of it as there was when it was interrupted; and whether a thread was left behind."""
    from llmsim.chaos.search import search as look
    from llmsim.cli.files import missing_file
    from llmsim.cli.search_progress import progress
    from llmsim.errors import SimulationInterrupted

    missing = missing_file(file)
    if missing is not None:
        raise missing
    try:
        with progress(wanted=shown) as report:
            return look(file, progress=report, **options), False
    except SimulationInterrupted as stop:
        return stop.partial, bool(stop.abandoned)


def _words(given: _Words) -> list[str]:
    """``--kinds stall,abort --kinds outage`` as a list."""
    return [word.strip() for words in given or () for word in words.split(",") if word.strip()]


def _share(text: str) -> float:
    from llmsim.errors import LlmsimError
    from llmsim.units import RATIO

    try:
        return float(RATIO.parse(text))
    except ValueError as error:
        raise LlmsimError(f"--max-fault-time: {error}") from None


def _again(place: Path, gateway: str) -> str:
    from llmsim.cli.replay import replay

    return replay(place, None, gateway=gateway)
