"""`RealityCheck`: a simulation held against the live run of the same scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmsim.errors import LlmsimError
from llmsim.report.figures import figure, share
from llmsim.report.numbers import jsonable
from llmsim.report.reality.distances import Apart, ks_band, ks_distance, per_request
from llmsim.report.reality.notes import notes_of
from llmsim.report.reality.pairs import Pairs, pairs_of
from llmsim.report.reality.rows import Line, lines_of, tolerances

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["RealityCheck"]

_MARKS = {"good": "✓", "off": "✗", "unsure": "?", "not judged": " "}


@dataclass(frozen=True, repr=False, eq=False)
class RealityCheck:
    """How far a simulation was off; shows itself as a table.

    Parameters
    ----------
    sim, live
        Results of one scenario and seed, simulated and live.
    pairs
        Their requests side by side.
    allowed
        Tolerances by metric.
    again
        The same live run once more, if there is one: what the machine itself repeats.
    """

    sim: Result
    live: Result
    pairs: Pairs
    allowed: Mapping[str, float]
    again: Result | None = None

    @classmethod
    def of(
        cls,
        sim: Result,
        live: Result,
        *,
        again: Result | None = None,
        tolerances_by_metric: Mapping[str, float] | None = None,
    ) -> RealityCheck:
        """Hold a simulation against the live run of the same scenario, request by request.

        Parameters
        ----------
        sim
            From `llmsim.run`, of the scenario (scaled alike) and seed of the live run; its replication 0 has the same
            arrivals and questions.
        live
            From `llmsim.run_live`.
        again
            Another live run of the same: then the errors stand beside what the machine itself repeats.
        tolerances_by_metric
            In place of `TOLERANCES`.

        Raises
        ------
        LlmsimError
            The two are not of one scenario, or have no request in common.
        """
        for what, one, other in (
            ("seed", sim.seed, live.seed),
            ("traffic", sim.scenario.traffic, live.scenario.traffic),
            ("clock", sim.scenario.clock, live.scenario.clock),
            ("providers", tuple(sim.scenario.providers), tuple(live.scenario.providers)),
        ):
            if one != other:
                raise LlmsimError(
                    f"these two cannot be compared request by request, since they differ in {what}; simulate the "
                    "scenario that ran live: llmsim.run(live.scenario)"
                )
        pairs = pairs_of(sim, live)
        if not pairs.table.height:
            raise LlmsimError("the two have no measured request in common; did the live run end during warm-up?")
        return cls(sim, live, pairs, tolerances(tolerances_by_metric), again)

    @cached_property
    def lines(self) -> list[Line]:
        """Every metric, simulated and live."""
        return lines_of(self.pairs, self.allowed)

    @cached_property
    def errors(self) -> dict[str, Apart]:
        """Errors of the simulation request by request."""
        return {name: per_request(*self.pairs.values(name)) for name in ("ttft", "tpot", "e2e")}

    @cached_property
    def repeated(self) -> dict[str, Apart]:
        """The same of the repeated live run, in the place of the simulation; empty without one."""
        if self.again is None:
            return {}
        pairs = pairs_of(self.again, self.live)
        return {name: per_request(*pairs.values(name)) for name in ("ttft", "tpot", "e2e")}

    @cached_property
    def distances(self) -> dict[str, tuple[float, float]]:
        """Kolmogorov-Smirnov distance of each latency, and the band that equal distributions stay within."""
        found = {}
        for name in ("ttft", "tpot", "e2e"):
            sim, live = self.pairs.values(name)
            found[name] = (ks_distance(sim, live), ks_band(len(sim), len(live)))
        return found

    @property
    def same_path(self) -> float:
        """Share of the pairs that called the same upstreams in the same order."""
        table = self.pairs.table
        return float((table["path_sim"] == table["path_live"]).mean()) if table.height else math.nan  # type: ignore[arg-type]

    @property
    def verdict(self) -> str:
        """``good``, ``off`` (at least one line), or ``unsure``."""
        verdicts = {line.verdict for line in self.lines}
        return (
            "off" if "off" in verdicts else "unsure" if "unsure" in verdicts or verdicts == {"not judged"} else "good"
        )

    @cached_property
    def notes(self) -> list[str]:
        """What else decides whether the numbers can be believed."""
        return notes_of(self.pairs, self.sim, self.live, self.lines)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        head = ("", "metric", "simulated", "live", "error", "95 % interval", "may be")
        rows = [_row(line) for line in self.lines]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(7)]
        table = ["  ".join(cell.ljust(w) if n < 2 else cell.rjust(w)
                           for n, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                 for row in (head, *rows)]  # fmt: skip
        lines = [self.headline, "", *(f"  {line}" for line in table), ""]
        lines += [f"  {words}" for words in self._request_by_request()]
        if self.notes:
            lines += ["", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        off = [line for line in self.lines if line.verdict == "off"]
        said = {
            "good": "within every tolerance",
            "unsure": "nothing is surely off, but not everything can be told from so few requests",
            "off": f"{len(off)} of {len(self.lines)} metrics off",
        }[self.verdict]
        mark = _MARKS[self.verdict]
        worse = [line.name for line in off if line.name.startswith(("ttft", "tpot", "e2e", "cost")) and line.error < 0]
        tail = f"; live is worse than assumed: {', '.join(worse)}" if worse else ""
        return f"{mark} {self.live.scenario.name}: {self.pairs.table.height} requests simulated and live, {said}{tail}"

    def _request_by_request(self) -> list[str]:
        lines = []
        for name, apart in self.errors.items():
            if not apart.pairs:
                continue
            distance, band = self.distances[name]
            words = (
                f"{name} request by request: off by {share(apart.mdape)} (median), bias {_signed(apart.bias)}, mean "
                f"{share(apart.mape)}, ranks correlate {apart.correlation:.2f}; KS {distance:.2f} (equal ones: below "
                f"{band:.2f})"
            )
            if name in self.repeated:
                words += f"; the live run repeated: {share(self.repeated[name].mdape)}"
            lines.append(words)
        lines.append(f"same upstreams in the same order: {share(self.same_path)} of the pairs")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-able by a strict encoder."""
        return {
            "scenario": self.live.scenario.name,
            "pairs": self.pairs.table.height,
            "verdict": self.verdict,
            "metrics": [
                {**{key: jsonable(value) for key, value in asdict(line).items()}, "verdict": line.verdict}
                for line in self.lines
            ],
            "per_request": {
                name: {key: jsonable(value) for key, value in apart._asdict().items()}
                for name, apart in self.errors.items()
            },
            "repeated": {
                name: {key: jsonable(value) for key, value in apart._asdict().items()}
                for name, apart in self.repeated.items()
            },
            "ks": {name: [jsonable(value) for value in pair] for name, pair in self.distances.items()},
            "same_path": jsonable(self.same_path),
            "notes": self.notes,
        }


def _row(line: Line) -> tuple[str, ...]:
    def told(error: float) -> str:
        if math.isnan(error):
            return "–"
        return _signed(error) if line.relative else f"{100 * error:+.1f} points"

    interval = "–" if line.interval is None else " to ".join(map(told, line.interval))
    may = f"±{share(line.tolerance)}" if line.relative else f"±{100 * line.tolerance:g} points"
    values = (figure(line.sim, line.unit), figure(line.live, line.unit))
    return (_MARKS[line.verdict], line.name, *values, told(line.error), interval, may)


def _signed(error: float) -> str:
    return "–" if math.isnan(error) else f"{'+' if error >= 0 else '−'}{share(abs(error))}"
