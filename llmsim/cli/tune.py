"""``llmsim tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli.answering import Answer, answering, or_partial
from llmsim.cli.failures import INTERRUPTED
from llmsim.cli.options import Backend, Jobs, Json, NoProgress, Overrides, Quiet, Scheduler, Seed, Traceback
from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.tuning.tuned import Tuned

__all__ = ["tune"]

_Texts = list[str] | None

Files = Annotated[
    list[Path], typer.Argument(metavar="SCENARIO…", help="A scenario file; several: one setting for all of them.")
]
SpaceOption = Annotated[
    _Texts,
    typer.Option(
        "--space",
        metavar="PATH=VALUES",
        help="What may be changed: LOW..HIGH, LOW..HIGH log, A,B,C, on,off for a whole policy. Repeatable.",
    ),
]
Minimize = Annotated[
    _Texts,
    typer.Option(
        metavar="METRIC",
        help='What is to be small: cost_per_ok, "ttft p(95)", "cost_per_ok + 0.02*false_hit_rate". Repeatable. '
        "[what the recipe is about]",
    ),
]
Maximize = Annotated[_Texts, typer.Option(metavar="METRIC", help="What is to be large: goodput. Repeatable.")]
SubjectTo = Annotated[
    _Texts,
    typer.Option(metavar="LINE", help='What must hold: "ttft p(95) < 2s". Repeatable. [the SLOs of the scenario]'),
]
Trials = Annotated[int, typer.Option(metavar="N", min=1, help="Settings to try at most.")]
Recipe = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A ready space: backoff, cache-threshold, timeouts, breaker, limits."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="W,W,…", help="Several scenarios: average their costs so, instead of looking at the worst. [worst]"
    ),
]
Replications = Annotated[
    int | None, typer.Option(metavar="N", min=2, help="Of a setting at most, in place of the scenario's.")
]
HeldOut = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Most replications of luck that plays no part in choosing; they end once it is decided. [40]",
    ),
]
Study = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keep finished replications there; with it, what was stopped or killed goes on."),
]
Within = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="About how long it may take: 3m. Then no trials beyond the first 8 are begun, and what was found is "
        "checked; how far that gets depends on the machine.",
    ),
]
OptunaFile = Annotated[
    Path | None,
    typer.Option("--optuna", metavar="FILE", help="Write the trials for optuna.load_study and optuna-dashboard."),
]
Write = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the scenario with the tuned values, if they are better; comments stay."),
]
Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page: .html, or Markdown.")]


def tune(
    files: Files,
    *,
    overrides: Overrides = None,
    space: SpaceOption = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    subject_to: SubjectTo = None,
    trials: Trials = 200,
    recipe: Recipe = None,
    weights: Weights = None,
    seed: Seed = None,
    replications: Replications = None,
    held_out: HeldOut = None,
    study: Study = None,
    optuna: OptunaFile = None,
    within: Within = None,
    write: Write = None,
    report: Report = None,
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    json: Json = None,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Search settings that make a number small (or large) while limits hold, and say how sure that is.

    All settings meet the same luck; what is clearly worse stops after two replications, and so do of each eight all
    but the two that look best. The winner is run again on luck that played no part in choosing it, and compared there
    with what you have. Nothing to improve is an answer too.

    Recipes, each for the policies the scenario has: backoff (retry), cache-threshold (semantic_cache), timeouts
    (timeout, deadline), breaker (circuit_breaker), limits (concurrency_limit, bulkhead, adaptive_admission). Unless
    you say what you want, cache-threshold makes a good answer cheap (something has to bound or price the wrong ones),
    and the others make e2e p(95) small. What of a recipe has no effect is left out. --set says what to start from.

    A sum weighs one number against another in the unit of the one without a weight: in "cost_per_ok +
    0.02*false_hit_rate" every wrong answer from the cache costs $0.02.

    \b
    Exit codes:
      0    found something better
      1    nothing better than what there is
      2    bad input: scenario, space, goal or limit; a parameter that has no effect
      3    undecided: better as it seems, but its limits may not hold (all of them, surely)
      4    llmsim itself broke
      130  interrupted; what was found so far is shown, and kept with --study
    \b
    Examples:
      llmsim tune checkout.yaml --recipe backoff
      llmsim tune checkout.yaml --recipe breaker --set upstream.circuit_breaker.failure_rate=90% --trials 40
      llmsim tune checkout.yaml --space gateway.retry.max_attempts=1,2,3,4 \\
          --space "gateway.retry.backoff.initial=50ms..2s log" --minimize "ttft p(95)" --subject-to "error_rate < 1%"
      llmsim tune spike.yaml outage.yaml --recipe timeouts --minimize "ttft p(95)" --study timeouts.jsonl
      llmsim tune faq.yaml --recipe cache-threshold --minimize "cost_per_ok + 0.02*false_hit_rate"
      llmsim tune checkout.yaml --recipe breaker --minimize cost_per_ok --write tuned.yaml --report tuned.html
      llmsim tune checkout.yaml --recipe backoff --minimize cost_per_ok --within 3m --study backoff.jsonl
      llmsim tune checkout.yaml --recipe backoff --minimize cost_per_ok --optuna trials.log
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    again = f"llmsim tune {' '.join(map(str, files))}"
    with answering(files[0], again, json=json, traceback=traceback) as answer:
        _check(files, write, report, study, optuna, json)
        found = _found(
            answer,
            files,
            shown=not (no_progress or quiet),
            overrides=tuple(overrides or ()),
            space=_space(space),
            minimize=tuple(minimize or ()),
            maximize=tuple(maximize or ()),
            subject_to=subject_to,
            trials=trials,
            recipe=recipe,
            weights=_weights(weights),
            seed=seed,
            replications=replications,
            held_out=held_out,
            study=study,
            optuna=optuna,
            within_s=_seconds(within),
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
        )
        answer.code = _code(found)
        told = {"files": [str(file) for file in files], "exit_code": answer.code, **found.to_dict(), "written": None}
        answer.page = told
        put(found.headline if quiet else repr(found), answer.to, painted=True)
        if found.partial:
            put(_how_to_go_on(study), answer.to)
        told["written"] = _written(found, write, report, answer.to)


def _check(
    files: list[Path],
    write: Path | None,
    report: Path | None,
    study: Path | None,
    optuna: Path | None,
    json: str | None,
) -> None:
    """That everything can be read and written, before hours are spent."""
    from llmsim.cli.outputs import check_file
    from llmsim.errors import LlmsimError
    from llmsim.scenario.missing import missing_file

    for file in files:
        missing = missing_file(file)
        if missing is not None:
            raise missing
    named = {"--write": write, "--report": report, "--study": study, "--optuna": optuna}
    for option, place in named.items():
        if place is not None:
            check_file(option, place)
            if any(place.exists() and place.samefile(file) for file in files if option != "--write"):
                raise LlmsimError(f"{option} {place} is the scenario itself; name another file")
    if json is not None and json != "-":
        named["--json"] = Path(json)
    taken: dict[Path, str] = {}
    for option, place in named.items():
        other = taken.setdefault(place.resolve(), option) if place is not None else option
        if other != option:
            raise LlmsimError(f"{other} and {option} both name {place}; name two files")


def _found(answer: Answer, files: list[Path], *, shown: bool, **options: Any) -> Tuned:
    from llmsim.cli.tune_progress import progress
    from llmsim.tuning.tune import tune as search

    with progress(wanted=shown) as told:
        return or_partial(answer, lambda: search(list(files), progress=told, **options))


def _code(found: Tuned) -> int:
    if found.partial:
        return INTERRUPTED
    if not found.improves or found.best is None:
        return 1
    return 0 if found.best.holds == "PASS" else 3


def _how_to_go_on(study: Path | None) -> str:
    if study is None:
        return "Nothing of it is kept; with --study FILE the same command could go on from here."
    return f"Kept in {study}: the same command goes on from there."


def _written(found: Tuned, write: Path | None, report: Path | None, where: Any) -> str | None:
    """Write what is asked for, and say so."""
    if report is not None:
        found.report(report)
        put(f"Report: {report}", where)
    if write is None:
        return None
    if not found.improves and not (found.partial and found.settings):
        put(f"Not written: {write} (nothing better than what there is)", where)
        return None
    found.write(write)
    put(f"Written: {write}\nSee it again: llmsim run {write} --seed {found.held_seed}", where)
    return str(write)


def _space(given: _Texts) -> dict[str, str]:
    """``PATH=VALUES`` texts as a mapping."""
    from llmsim.errors import LlmsimError

    space: dict[str, str] = {}
    for text in given or ():
        path, equals, values = text.partition("=")
        path, values = path.strip(), values.strip()
        if not equals or not path or not values:
            raise LlmsimError(f"--space {text!r} is not PATH=VALUES; write it like gateway.retry.max_attempts=1,2,3")
        if path in space:
            raise LlmsimError(f"--space {path} stands twice")
        space[path] = values
    return space


def _seconds(text: str | None) -> float | None:
    from llmsim.errors import LlmsimError
    from llmsim.units import DURATION

    if text is None:
        return None
    try:
        return DURATION.parse(text)
    except ValueError as error:
        raise LlmsimError(f"--within: {error}") from None


def _weights(text: str | None) -> tuple[float, ...] | None:
    from llmsim.errors import LlmsimError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise LlmsimError(f"--weights {text!r} are no numbers; write one a scenario: 2,1,1") from None
