"""``llmsim run --live``: what is asked before money is spent, and what is shown while it is."""

from __future__ import annotations

import math
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmsim.cli.line import Line
from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.report.figures import clock
from llmsim.report.result import Result
from llmsim.scenario.spec import Scenario

if TYPE_CHECKING:
    from llmsim.live_run import LiveProgress

__all__ = ["LiveOptions", "run_for_money"]

_LOOK_S = 0.2  #: between two looks whether Ctrl-C was pressed


@dataclass(frozen=True)
class LiveOptions:
    """What was typed about a live run."""

    file: Path
    budget_usd: float
    time_scale: float = 1.0
    rate_scale: float = 1.0
    yes: bool = False
    without_faults: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        file: Path | None,
        budget_usd: float | None,
        time_scale: float | None,
        rate_scale: float | None,
        *,
        yes: bool,
        without_faults: Sequence[str] | None = None,
    ) -> LiveOptions | None:
        """The options, or None for a simulation.

        Raises
        ------
        LlmsimError
            There is no budget, or an option that only a live run has.
        """
        if file is None:
            given = {
                "--budget": budget_usd,
                "--time-scale": time_scale,
                "--rate-scale": rate_scale,
                "--without-faults": without_faults or None,
                "--yes": yes or None,
            }
            alone = [word for word, value in given.items() if value is not None]
            if alone:
                raise LlmsimError(f"{alone[0]} belongs to a live run; add --live live.yaml, or leave it out")
            return None
        if budget_usd is None or not 0 < budget_usd < math.inf:
            raise LlmsimError(
                "a live run spends money, and needs to know how much it may; add --budget 0.50 (USD, above 0)"
            )
        time, rate = (1.0 if scale is None else scale for scale in (time_scale, rate_scale))
        return cls(file, budget_usd, time, rate, yes, tuple(without_faults or ()))

    def words(self) -> list[str]:
        """What to type for them; ``--yes`` is left out, for whoever types it should be asked."""
        words = ["--live", str(self.file), "--budget", f"{self.budget_usd:g}"]
        words += ["--time-scale", f"{self.time_scale:g}"] if self.time_scale != 1 else []
        words += ["--rate-scale", f"{self.rate_scale:g}"] if self.rate_scale != 1 else []
        for name in self.without_faults:
            words += ["--without-faults", name]
        return words


def run_for_money(scenario: Scenario, options: LiveOptions, *, seed: int | None, quiet: bool, progress: bool) -> Result:
    """Say what it will do and cost, ask, and run it.

    Raises
    ------
    LlmsimError
        The user said no, or could not be asked.
    """
    from llmsim.live_run import plan_live, run_live

    plan = plan_live(
        scenario,
        options.file,
        time_scale=options.time_scale,
        rate_scale=options.rate_scale,
        seed=seed,
        without_faults=options.without_faults,
    )
    if not quiet:
        put(f"{plan}; it never spends more than ${options.budget_usd:g}", "stderr")
    if not options.yes:
        if not sys.stdin.isatty():
            raise LlmsimError("nobody is there to be asked whether to go on; add --yes")
        if not _agreed():
            raise LlmsimError("not begun: you said no")
    line = Line(wanted=progress)
    try:
        return run_live(
            plan, budget_usd=options.budget_usd, progress=lambda at: line(f"{scenario.name} live: {_words(at)}")
        )
    finally:
        line.clear()


def _agreed() -> bool:
    """Ask; anything but a yes is none, the end of the input too."""
    print("Go on? [y/N]: ", end="", file=sys.stderr, flush=True)
    # Not `input`: with several threads a Ctrl-C may reach another than the one that waits in it, and only be seen at
    # the next key. (On Windows `select` knows no terminals, and a console wakes up by itself.)
    while sys.platform != "win32" and not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _words(at: LiveProgress) -> str:
    return (
        f"${at.spent_usd:.4f} of ${at.budget_usd:g} spent, {clock(min(at.elapsed_s, at.total_s))} of at most "
        f"{clock(at.total_s)}, {at.requests:,} answered, {at.in_flight} under way (${at.reserved_usd:.4f} held back)"
    )
