"""``llmsim compare FILE --live``: the same scenario simulated and live, and how far the simulation was off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmsim.cli.live import LiveOptions, run_for_money
from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.units import RATIO

if TYPE_CHECKING:
    from llmsim.report.reality.check import RealityCheck

__all__ = ["both_worlds", "read_tolerances"]

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
