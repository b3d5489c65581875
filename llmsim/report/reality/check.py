"""`RealityCheck`: a simulation held against the live run of the same scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmsim.errors import LlmsimError
from llmsim.report.figures import share
from llmsim.report.numbers import jsonable
from llmsim.report.reality import notes
from llmsim.report.reality.causes import Cause, cause_of
from llmsim.report.reality.curves import Sides
from llmsim.report.reality.distances import Apart, ks_band_of_pairs, ks_distance, per_request
from llmsim.report.reality.pairs import Pairs, pairs_of
from llmsim.report.reality.rows import Line, lines_of, tolerances
from llmsim.report.reality.shows import Shows
from llmsim.report.reality.told import MARKS, Table, Told, error_told, interval_told, line_row, signed, size

if TYPE_CHECKING:
    from llmsim.report.plots.reality import RealityPlots
    from llmsim.report.result import Result

__all__ = ["LATENCIES", "RealityCheck"]

#: What is compared request by request and as distributions.
LATENCIES = ("ttft", "tpot", "max_inter_token", "e2e")
_NAMED = 4  #: metrics in a headline
#: What is told of each route.
_BY_ROUTE = ("ttft p(50)", "e2e p(50)", "output_tokens", "error_rate")


@dataclass(frozen=True, repr=False, eq=False)
class RealityCheck(Shows):
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
    def by_route(self) -> dict[str, list[Line]]:
        """The most important metrics of each route, if there are several; not part of the verdict."""
        routes = self.pairs.table["route_live"].unique(maintain_order=True).to_list()
        allowed = {name: self.allowed[name] for name in _BY_ROUTE}
        return {route: lines_of(self.pairs.only(route), allowed) for route in routes} if len(routes) > 1 else {}

    @cached_property
    def errors(self) -> dict[str, Apart]:
        """Errors of the simulation request by request, of those that were answered in both."""
        return {name: per_request(*self.pairs.values(name)) for name in LATENCIES}

    @cached_property
    def repeated(self) -> dict[str, Apart]:
        """The same of the repeated live run, in the place of the simulation; empty without one."""
        if self.again is None:
            return {}
        pairs = pairs_of(self.again, self.live)
        return {name: per_request(*pairs.values(name)) for name in LATENCIES}

    @cached_property
    def distances(self) -> dict[str, tuple[float, float]]:
        """Kolmogorov-Smirnov distance of each latency, and the band that pairs of one distribution stay within."""
        found = {}
        for name in LATENCIES:
            sim, live = self.pairs.values(name)
            found[name] = (ks_distance(sim, live), ks_band_of_pairs(sim, live))
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
    def cause(self) -> Cause:
        """What is to blame for what is off: a late client, a full server, or the model."""
        return cause_of(self.pairs, self.lines)

    @cached_property
    def notes(self) -> list[str]:
        """What else decides whether the numbers can be believed."""
        pairs, names = self.pairs, ("simulated", "live")
        blame = [self.cause.told] if self.cause.told else []
        on_time = [] if self.cause.word == "client overloaded" else notes.on_time(pairs)
        return [
            *blame,
            *self._routes_off(),
            *self._repeats(),
            *on_time,
            *notes.errors_told(self.sim, self.live, names),
            *notes.left_out(pairs, self.live, names),
            *notes.cold_told(pairs, self.live),
        ]

    def _routes_off(self) -> list[str]:
        """Routes that are off in something which is not off for all together: errors that cancel out."""
        off = {line.name for line in self.lines if line.verdict == "off"}
        found = []
        for route, lines in self.by_route.items():
            told = [f"{one.name} {error_told(one, one.error)}" for one in lines
                    if one.verdict == "off" and one.name not in off]  # fmt: skip
            if told:
                found.append(f"Route {route} is off by itself: {', '.join(told)}.")
        return found

    def _repeats(self) -> list[str]:
        """Where the machine repeats itself no better than the simulation predicts it."""
        told = [f"{name} {size(apart.mdape)}" for name, apart in self.repeated.items()
                if name in ("ttft", "e2e") and apart.mdape >= self.errors[name].mdape > 0]  # fmt: skip
        if not told:
            return []
        return [f"The live run repeated was as far off as the simulation, or further: {', '.join(told)} (median)."]

    @property
    def sides(self) -> Sides:
        """What the pictures are drawn from."""
        return Sides(
            self.live.scenario.name,
            ("simulated", "live"),
            {name: self.pairs.values(name, failures=True) for name in LATENCIES},
            {name: self.pairs.values(name) for name in LATENCIES},
            self.allowed,
        )

    @property
    def plot(self) -> RealityPlots:
        """Pictures: ``check.plot.ecdf("ttft")``, ``check.plot.qq("e2e")``."""
        from llmsim.report.plots.reality import RealityPlots

        return RealityPlots(self.sides)

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        lines = self.lines
        off = [line for line in lines if line.verdict == "off"]
        judged = sum(line.verdict != "not judged" for line in lines)
        said = {
            "good": "within every tolerance",
            "unsure": "nothing is surely off, but not everything can be told from so few requests",
            "off": f"{len(off)} of {judged} metrics off",
        }[self.verdict]
        because = f" ({self.cause.word})" if self.cause.word and self.verdict != "good" else ""
        tails = []
        for word in ("worse", "better"):
            told = [f"{line.name} {_against(line)}" for line in off if line.live_is == word and self._means(line)]
            if told:
                more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
                tails.append(f"; live is {word} than assumed: {', '.join([*told[:_NAMED], *more])}")
        pairs = self.pairs.table.height
        name = self.live.scenario.name
        return f"{MARKS[self.verdict]} {name}: {pairs} requests simulated and live, {said}{because}{''.join(tails)}"

    def _means(self, line: Line) -> bool:
        """Not if less was paid because less was answered."""
        return not (line.name == "cost" and line.live_is == "better" and self.pairs.failed)

    @property
    def results(self) -> dict[str, Result]:
        """The two, by what they are called."""
        return {"simulated": self.sim, "live": self.live}

    @property
    def told(self) -> Told:
        """Everything that it says."""
        head = ("verdict", "metric", "simulated", "live", "error", "95 % interval", "may be", "")
        tables = [Table("", head, [line_row(line) for line in self.lines])]
        if self.by_route:
            tables.append(self._routes_table())
        twice = ", live twice" if self.again is not None else ""
        spent = self.live.replications[0].counters.get("spent_usd", 0.0)
        glance = (
            f"seed {self.live.seed}, {self.pairs.table.height} pairs{twice}; the live run spent ${spent:.4g}. An error "
            "is simulated / live - 1: below 0, live was more than assumed. Percentiles count failures as never"
            f"{'; those called _ok are of requests answered in both' if self.pairs.failed else ''}."
        )
        return Told(self.headline, self.verdict, glance, tables, self._request_by_request(), self.notes)

    def _routes_table(self) -> Table:
        rows = []
        for route, lines in self.by_route.items():
            verdicts = [line.verdict for line in lines]
            worst = next((one for one in ("off", "unsure", "good") if one in verdicts), "not judged")
            cells = [f"{error_told(one, one.error)} ({interval_told(one)})" for one in lines]
            rows.append((worst, route, str(self.pairs.only(route).table.height), *cells, ""))
        caption = "By route (95 % interval); not part of the verdict"
        return Table(caption, ("verdict", "route", "pairs", *_BY_ROUTE, ""), rows)

    def _request_by_request(self) -> list[str]:
        lines = []
        for name, apart in self.errors.items():
            if not apart.pairs:
                continue
            distance, band = self.distances[name]
            ranks = "" if math.isnan(apart.correlation) else f", ranks correlate {apart.correlation:.2f}"
            words = (
                f"{name} request by request: off by {size(apart.mdape)} (median), bias {signed(apart.bias)}, mean "
                f"{size(apart.mape)}{ranks}; KS {distance:.2f} (pairs of one distribution: at most {band:.2f})"
            )
            if name in self.repeated:
                words += f"; the live run repeated: {size(self.repeated[name].mdape)}"
            lines.append(words)
        lines.append(f"same upstreams in the same order: {share(self.same_path)} of the pairs")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-able by a strict encoder."""
        return {
            "scenario": self.live.scenario.name,
            "pairs": self.pairs.table.height,
            "verdict": self.verdict,
            "cause": self.cause.word,
            "metrics": [line_dict(line) for line in self.lines],
            "by_route": {route: [line_dict(line) for line in lines] for route, lines in self.by_route.items()},
            "per_request": {name: jsonable(apart._asdict()) for name, apart in self.errors.items()},
            "repeated": {name: jsonable(apart._asdict()) for name, apart in self.repeated.items()},
            "ks": {name: [jsonable(value) for value in pair] for name, pair in self.distances.items()},
            "same_path": jsonable(self.same_path),
            "notes": self.notes,
        }


def line_dict(line: Line) -> dict[str, Any]:
    """A line as plain values."""
    values: dict[str, Any] = jsonable(asdict(line))
    return {**values, "verdict": line.verdict, "pairs_needed": line.needed}


def _against(line: Line) -> str:
    """What live is of what was simulated."""
    if not line.relative:
        return f"by {abs(100 * line.error):.1f} points"
    if math.isinf(line.live) or not line.sim:
        return "never" if math.isinf(line.live) else ""
    return f"{line.live / line.sim:.3g}x"
