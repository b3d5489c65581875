"""``llmsim cache frontier``."""

from __future__ import annotations

import json as js
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.failures import INTERRUPTED, block, code_of, page_of
from llmsim.cli.options import Json, NoProgress, Overrides, Replications, Seed, Traceback
from llmsim.cli.terminal import put, steady_streams

if TYPE_CHECKING:
    from llmsim.report.frontier import Frontier
    from llmsim.scenario.replicate import Progress
    from llmsim.scenario.spec import Scenario

__all__ = ["frontier"]

_FILES = ("frontier.json", "frontier.csv", "frontier.png")


def frontier(
    file: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file with a semantic cache.")],
    *,
    thresholds: Annotated[
        str, typer.Option(metavar="LIST", help="Cosines: from:to:how many, or a list 0.85,0.9,0.95.")
    ] = "0.70:0.99:20",
    tolerance: Annotated[
        str, typer.Option(metavar="BOUND", help="Of wrong answers: of all requests, or wrong_of_hits < 1%.")
    ] = "wrong < 0.5%",
    ttls: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Times to live to compare at that threshold: 5m,1h,never.", show_default=False
        ),
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Instead, show for which popularity and threshold that share of calls is saved: 40%.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = None,
    replications: Replications = None,
    overrides: Overrides = None,
    json: Json = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write numbers (JSON, CSV) and the picture (PNG) there.")
    ] = None,
    no_progress: NoProgress = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer, in one line.")] = False,
    traceback: Traceback = False,
) -> None:
    """Show what each similarity threshold is worth, and the lowest whose wrong answers are tolerable.

    Each replication runs once, with a cache that stays empty; what it was asked is then replayed for all thresholds.
    Per threshold: hits (beside them what an exact-match cache would have had), wrong answers with 95 % intervals, the
    money saved after embeddings and store are paid, and the time to the first token. A threshold is recommended only
    if the upper end of the interval is inside the tolerance.

    \b
    Exit codes:
      0    a threshold is recommended
      1    no threshold keeps the tolerance
      2    bad input: scenario, option, no semantic cache
      3    too few samples to say so
      4    llmsim itself broke
      130  interrupted; what is known so far is shown
    \b
    Examples:
      llmsim cache frontier support-bot.yaml
      llmsim cache frontier support-bot.yaml --tolerance "wrong_of_hits < 1%" --out frontier
      llmsim cache frontier support-bot.yaml --set traffic.topics.traps=5% --json -
      llmsim cache frontier support-bot.yaml --claim 40%
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    where: Any = "stderr" if json == "-" else "stdout"
    try:
        scenario = _loaded(file, overrides)
        options = {"seed": seed, "replications": replications, "shown": not (no_progress or quiet)}
        if claim is not None:
            _check_alone({"--out": out, "--ttls": ttls, "--json": json})
            put(f"{_claim(scenario, claim, options)}\n", where)
            raise typer.Exit
        found = _found(scenario, thresholds, tolerance, ttls, options)
        code = _code(found)
        page = {"file": str(file), "exit_code": code, **found.to_dict()}
        put(found.headline if quiet else f"{found!r}\n", where)
        if out is not None:
            _save(out, found, page)
            put(f"Written to {out}: {', '.join(_FILES)}", "stderr")
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        from llmsim.errors import SimulationInterrupted

        put("interrupted before the first replication was over", "stderr")
        code, page = INTERRUPTED, page_of(SimulationInterrupted("interrupted"), str(file))
    except Exception as error:
        put(block(error, str(file), _again(file), whole=traceback), "stderr")
        code, page = code_of(error), page_of(error, str(file))
    if json is not None:
        from llmsim.cli.outputs import write_json

        code = write_json(json, page, code)
    raise typer.Exit(code)


def _loaded(file: Path, overrides: list[str] | None) -> Scenario:
    from llmsim.api import load
    from llmsim.scenario.missing import missing_file

    missing = missing_file(file)
    if missing is not None:
        raise missing
    return load(file, overrides or ())


def _found(scenario: Scenario, thresholds: str, tolerance: str, ttls: str | None, options: dict[str, Any]) -> Frontier:
    from llmsim.report.frontier import frontier as compute
    from llmsim.report.frontier_words import read_thresholds, read_ttls

    cosines, lives = read_thresholds(thresholds), None if ttls is None else read_ttls(ttls)
    shown, given = options["shown"], {name: options[name] for name in ("seed", "replications")}
    with _shown(scenario, given["replications"], wanted=shown) as report:
        return compute(scenario, thresholds=cosines, tolerance=tolerance, ttls=lives, progress=report, **given)


def _shown(scenario: Scenario, replications: int | None, *, wanted: bool) -> Any:
    """A line that says how far it is."""
    from contextlib import contextmanager

    from llmsim.api import RunProgress
    from llmsim.cli.progress import progress

    most, started = replications or scenario.replications, perf_counter()

    @contextmanager
    def shown() -> Any:
        with progress(scenario.name, wanted=wanted) as report:
            if report is None:
                yield None
                return

            def told(done: int, at: Progress) -> None:
                live = at.number >= done
                here = (at.simulated_s, at.total_s, at.requests) if live else (0.0, at.total_s, 0)
                report(RunProgress(done, most, *here, perf_counter() - started))

            yield told

    return shown()


def _claim(scenario: Scenario, text: str, options: dict[str, Any]) -> Any:
    from llmsim.errors import LlmsimError
    from llmsim.report.frontier import claim_table
    from llmsim.units import RATIO

    try:
        wanted = RATIO.parse(text)
    except ValueError as error:
        raise LlmsimError(f"--claim: {error}") from None
    return claim_table(scenario, wanted, seed=options["seed"], replications=options["replications"])


def _check_alone(others: dict[str, object]) -> None:
    from llmsim.errors import LlmsimError

    given = [name for name, value in others.items() if value is not None]
    if given:
        raise LlmsimError(f"--claim prints a table of its own; leave {given[0]} out")


def _code(found: Frontier) -> int:
    if found.partial:
        return INTERRUPTED
    if found.recommended is not None:
        return 0
    return 3 if found.too_few else 1


def _save(folder: Path, found: Frontier, page: dict[str, Any]) -> None:
    from llmsim.errors import LlmsimError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = js.dumps(page, indent=2, allow_nan=False, ensure_ascii=False)
        (folder / _FILES[0]).write_text(text + "\n", encoding="utf-8")
        found.table.write_csv(folder / _FILES[1])
        (folder / _FILES[2]).write_bytes(found.plot().png())
    except OSError as error:
        raise LlmsimError(f"--out {folder}: cannot be written: {error.strerror or error}") from error


def _again(file: Path) -> str:
    from llmsim.cli.replay import program

    return f"{program()} cache frontier {file}"
