"""``llmsim search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.answering import Answer, answering, or_partial
from llmsim.cli.failures import INTERRUPTED
from llmsim.cli.options import Backend, Gateway, Jobs, Json, NoProgress, Quiet, Scheduler, Seed, Traceback
from llmsim.cli.terminal import put

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
    place = output if output is not None else file.with_name(f"{file.name.partition('.')[0]}-found.yaml")
    with answering(file, f"llmsim search {file}", json=json, traceback=traceback) as answer:
        _check(file, place)
        found = _found(
            answer,
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
        answer.code = INTERRUPTED if found.partial else 1 if found.found else 0
        told = {"file": str(file), "exit_code": answer.code, **found.to_dict(), "written": None}
        answer.page = told
        put(found.headline if quiet else repr(found), answer.to, painted=True)
        if found.schedule:
            told["written"] = str(found.save(place))
            put(f"Written: {place}\nSee it again: {_again(place, gateway)}", answer.to)


def _check(file: Path, place: Path) -> None:
    """That there is a scenario, and what is found can be written and takes the place of nothing written by hand."""
    from llmsim.chaos.regression import FOUND_BY
    from llmsim.cli.outputs import check_file
    from llmsim.errors import LlmsimError
    from llmsim.scenario.missing import missing_file

    missing = missing_file(file)  # before its folder, where what is found goes, is missed
    if missing is not None:
        raise missing
    check_file("--output", place)
    if place.exists() and not place.read_text(encoding="utf-8", errors="replace").startswith(FOUND_BY):
        raise LlmsimError(f"--output {place}: there is a file already, and not one of a search; name another")


def _found(answer: Answer, file: Path, *, shown: bool, **options: Any) -> Searched:
    from llmsim.chaos.search import search as look
    from llmsim.cli.search_progress import progress

    with progress(wanted=shown) as report:
        return or_partial(answer, lambda: look(file, progress=report, **options))


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
