"""``llmsim compare FILE --live``: the same scenario simulated and live, and how far the simulation was off."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmsim.cli.live import LiveOptions, run_for_money
from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.units import RATIO

if TYPE_CHECKING:
    from llmsim.report.comparison import Comparison
    from llmsim.report.reality.check import RealityCheck
    from llmsim.report.reality.drift import Drift
    from llmsim.report.result import Result

__all__ = [
    "against_saved",
    "both_worlds",
    "exit_code",
    "not_of_one_file",
    "read_share",
    "read_tolerances",
    "saved",
    "typed",
    "write_page",
]

_TOLERANCE = re.compile(r"\s*(.+?)\s*=\s*(\S+)\s*")


def both_worlds(
    file: Path,
    options: LiveOptions,
    *,
    seed: int | None,
    overrides: Sequence[str],
    repeat: int,
    tolerances: dict[str, float],
    out: Path | None,
) -> RealityCheck:
    """Run a scenario live (and once more, if it is to be repeated), simulate it, and hold the two together.

    Parameters
    ----------
    file
        The scenario.
    options
        About the live runs; the budget is for each of them.
    repeat
        Live runs: 1 or 2.
    out
        Directory in which the results are kept as ``live``, ``live-again`` and ``simulated``.
    """
    from llmsim.api import load, run
    from llmsim.report.reality.check import RealityCheck

    scenario = load(file, overrides)
    lives = []
    for number in range(repeat):
        live = run_for_money(scenario, options, seed=seed, quiet=False, progress=True)
        if out is not None:
            put(f"saved in {live.save(out / ('live-again' if number else 'live'))}", "stderr")
        lives.append(live)
    sim = run(lives[0].scenario, replications=1)
    if out is not None:
        put(f"saved in {sim.save(out / 'simulated')}", "stderr")
    again = lives[1] if repeat > 1 else None
    return RealityCheck.of(sim, lives[0], again=again, tolerances_by_metric=tolerances)


def saved(
    before: Path,
    after: Path,
    overrides: Sequence[str],
    least_effect: float,
    tolerances: dict[str, float],
    baseline: Sequence[Path] = (),
    run_to_run: float | None = None,
    metrics: Sequence[str] = (),
) -> Comparison | RealityCheck | Drift:
    """Two saved results; or a scenario file and a live run that was saved."""
    from llmsim.report.compare import compare
    from llmsim.report.save import load_result

    other = load_result(after)
    if before.is_file():
        if not other.live:
            raise LlmsimError(
                f"{before} is a file and {after} was simulated; run the file with --out, or name a live run"
            )
        not_of_one_file(baseline, run_to_run, metrics)
        return against_saved(before, other, overrides, tolerances)
    return compare(
        load_result(before), other, least_effect=least_effect, tolerances=tolerances,
        baseline=[load_result(one) for one in baseline], run_to_run=run_to_run, metrics=metrics,
    )  # fmt: skip


def not_of_one_file(baseline: Sequence[Path], run_to_run: float | None, metrics: Sequence[str]) -> None:
    """Refuse what is about two results, where there is a scenario file and a live run.

    Raises
    ------
    LlmsimError
        With what it is about.
    """
    if baseline or run_to_run is not None:
        raise LlmsimError("--baseline and --run-to-run are about two live runs that were saved")
    if metrics:
        raise LlmsimError("--metric is about two simulations that were saved")


def against_saved(file: Path, live: Result, overrides: Sequence[str], tolerances: dict[str, float]) -> RealityCheck:
    """Simulate what ran live with the providers and the gateway of a scenario file, and hold the two together.

    So a profile is held against a live run that was made later: ``providers`` and ``gateway`` are the file's; traffic,
    clock, faults and seed those of the live run.

    Raises
    ------
    LlmsimError
        The file has other providers.
    """
    from llmsim.api import load, run
    from llmsim.report.reality.check import RealityCheck

    given = load(file, overrides)
    if tuple(given.providers) != tuple(live.scenario.providers):
        raise LlmsimError(
            f"{file} has the providers {', '.join(given.providers)}, the live run {', '.join(live.scenario.providers)}"
        )
    ran = live.scenario
    providers = {
        name: replace(spec, model=ran.providers[name].model, price=ran.providers[name].price)
        for name, spec in given.providers.items()
    }
    scenario = replace(ran, providers=providers, gateway=given.gateway)
    return RealityCheck.of(run(scenario, seed=live.seed, replications=1), live, tolerances_by_metric=tolerances)


def exit_code(found: Comparison | RealityCheck | Drift) -> int:
    """0, 1 if something is worse or off, 3 if a simulation's error cannot be told from so few requests."""
    from llmsim.report.comparison import Comparison

    if isinstance(found, Comparison):
        return 1 if any(one.verdict == "worse" for one in found.differences) else 0
    return {"off": 1, "worse": 1, "unsure": 3}.get(found.verdict, 0)


def write_page(found: Comparison | RealityCheck | Drift, place: Path, replay: str) -> None:
    """Write the HTML page.

    Raises
    ------
    LlmsimError
        Nothing was run live, or it cannot be written there.
    """
    from llmsim.report.comparison import Comparison

    if isinstance(found, Comparison):
        raise LlmsimError(
            "--html is for comparisons with a live run; of two simulations there is the table, and --json"
        )
    try:
        place.write_text(found.to_page(replay), encoding="utf-8", errors="replace")
    except OSError as error:
        raise LlmsimError(f"--html {place}: cannot be written: {error.strerror or error}") from error
    put(f"page: {place}", "stderr")


def typed(
    before: Path,
    after: Path | None,
    overrides: Sequence[str],
    *,
    live: Path | None,
    budget: float | None,
    repeat: int,
    baseline: Sequence[Path] = (),
    run_to_run: str | None = None,
    metrics: Sequence[str] = (),
) -> str:
    """The command that gives the same again, as it would be typed."""
    words = ["llmsim", "compare", str(before), *([] if after is None else [str(after)])]
    if live is not None:
        words += ["--live", str(live), "--budget", f"{budget:g}" if budget is not None else "USD"]
        words += ["--repeat", str(repeat)] if repeat > 1 else []
    for earlier in baseline:
        words += ["--baseline", str(earlier)]
    words += [] if run_to_run is None else ["--run-to-run", run_to_run]
    for metric in metrics:
        words += ["--metric", metric]
    for one in overrides:
        words += ["--set", one]
    return shlex.join(words)


def read_share(option: str, text: str | None) -> float | None:
    """A share above 0.

    Raises
    ------
    LlmsimError
        It is none.

    Examples
    --------
    >>> read_share("--run-to-run", "6%"), read_share("--run-to-run", None)
    (0.06, None)
    """
    if text is None:
        return None
    try:
        found = float(RATIO.parse(text))
    except ValueError as error:
        raise LlmsimError(f"{option} {text!r}: {error}") from None
    if not found > 0:
        raise LlmsimError(f"{option} {text!r}: write a share above 0, as in {option} 5%")
    return found


def read_tolerances(given: Sequence[str]) -> dict[str, float]:
    """``ttft p(50)=15%`` texts.

    Raises
    ------
    LlmsimError
        For one that is not of this form.

    Examples
    --------
    >>> read_tolerances(["ttft p(50)=15%", "cost = 0.05"])
    {'ttft p(50)': 0.15, 'cost': 0.05}
    """
    found = {}
    for text in given:
        match = _TOLERANCE.fullmatch(text)
        if match is None:
            raise LlmsimError(f"--tolerance {text!r}: write a metric and a share, as in --tolerance 'ttft p(50)=15%'")
        try:
            found[match[1]] = float(RATIO.parse(match[2]))
        except ValueError as error:
            raise LlmsimError(f"--tolerance {text!r}: {error}") from None
    return found
