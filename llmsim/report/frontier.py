"""The place where a threshold is chosen: hits, wrong answers, money and time for every threshold, from one run each.

`frontier` runs each replication once, with a semantic cache that stays empty, and replays what it was asked for all
thresholds at once (`llmsim.stores.frontier` says what that takes for granted). Wrong answers are judged by the upper
end of their 95 % interval, so that few samples never look safe.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llmsim.engine.collector import rare_collections
from llmsim.engine.driver import in_worker_thread
from llmsim.errors import LlmsimError, SimulationInterrupted
from llmsim.report.frontier_claim import Claim, ClaimTable
from llmsim.report.frontier_result import Frontier, Point
from llmsim.report.frontier_runs import Observed, Tally, cache_of, observe, usual_cache
from llmsim.report.frontier_words import Tolerance, read_tolerance
from llmsim.report.rates import Spread, spread_of
from llmsim.scenario.replicate import Progress
from llmsim.scenario.spec import Scenario
from llmsim.stores.frontier import Cache

__all__ = ["THRESHOLDS", "ClaimTable", "Frontier", "Point", "claim_table", "frontier"]

#: Twenty from "nearly everything" to "nearly the same words".
THRESHOLDS: tuple[float, ...] = tuple(round(float(one), 4) for one in np.linspace(0.70, 0.99, 20))
#: Times to live beside each other, as multiples of the scenario's own, or of the simulated time if that is less.
_TTLS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_EXACT, _NONE = math.inf, math.nan
_FEW = 30  #: wrong answers by which their groups are hardly seen: of 30, the relative error of a variance is 1/4

Report = Callable[[int, Progress], object]


def frontier(
    scenario: Scenario,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance: str | Tolerance = "wrong < 0.5%",
    ttls: Sequence[float] | None = None,
    seed: int | None = None,
    replications: int | None = None,
    progress: Report | None = None,
) -> Frontier:
    """What a scenario's semantic cache would do at each threshold.

    Parameters
    ----------
    scenario
        With a `semantic_cache` in its gateway and `topics` in its traffic. All of its cache but the threshold holds.
    thresholds
        Cosines in (0, 1].
    tolerance
        Of wrong answers: ``wrong < 0.5%`` (of all requests) or ``wrong_of_hits < 1%``.
    ttls
        Times to live in seconds (inf: for ever) to compare at the recommended threshold. None: if answers change,
        the scenario's own and multiples of it that matter in the time that is simulated; else none. Empty: none.
    seed, replications
        Override the scenario's.
    progress
        Told, about ten times a second, how many replications are done, and where the current one is.

    Raises
    ------
    LlmsimError
        Without a semantic cache or topics, for thresholds out of range, for an unknown tolerance; and what runs raise.
    SimulationInterrupted
        Before the first replication was done. Later, the result is ``partial``.
    """
    changes = {"seed": seed, "replications": replications}
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        scenario = dataclasses.replace(scenario, **given)  # type: ignore[arg-type]
    cache_of(scenario)
    bound = read_tolerance(tolerance) if isinstance(tolerance, str) else tolerance
    lives = None if ttls is None else _ascending(ttls, "times to live", math.inf)
    session = _Session(scenario, _ascending(thresholds, "thresholds", 1.0), progress)
    try:
        in_worker_thread(session.all, loops=lambda: session.progress.loop, tick=session.tick)
    except SimulationInterrupted:
        if not session.done:
            raise
    session.tick()
    return session.result(bound, lives)


def claim_table(
    scenario: Scenario,
    wanted: float = 0.40,
    *,
    skews: Sequence[float] = (0.0, 0.6, 0.8, 1.0, 1.2),
    uniques: Sequence[int] = (1000, 10_000, 100_000),
    thresholds: Sequence[float] = (0.80, 0.85, 0.90, 0.95),
    seed: int | None = None,
    replications: int | None = None,
) -> ClaimTable:
    """Whether a cache saves that share of the calls, for which popularity of questions and at which threshold.

    Parameters
    ----------
    scenario
        As for `frontier`; the popularity of its topics is replaced.
    wanted
        Share of the calls, e.g. the "up to 40 %" one reads.
    skews, uniques
        Exponents of Zipf's law, and numbers of questions.
    thresholds, seed, replications
        As for `frontier`.

    Raises
    ------
    LlmsimError
        As `frontier` does.
    """
    cache_of(scenario)
    if scenario.traffic.topics is not None and scenario.traffic.topics.prompts is not None:
        raise LlmsimError(
            f"{scenario.name} asks what stands in {scenario.traffic.topics.prompts}: how many questions there are "
            "cannot be varied; leave prompts out for a table of claims, or look at its frontier"
        )
    claims = []
    for unique in uniques:
        for skew in skews:
            changed = scenario.with_values({"traffic.topics.zipf.s": skew, "traffic.topics.zipf.unique": unique})
            found = frontier(changed, thresholds=thresholds, ttls=(), seed=seed, replications=replications)
            claims.append(Claim(skew, unique, found))
    return ClaimTable(scenario, wanted, tuple(claims))


def _ascending(values: Sequence[float], what: str, most: float) -> tuple[float, ...]:
    wrong = [value for value in values if not 0 < value <= most]
    if wrong:
        bound = f" and at most {most:g}" if most < math.inf else ""
        raise LlmsimError(f"{what}: {wrong[0]:g} is out of range; write numbers above 0{bound}")
    if not values and what == "thresholds":
        raise LlmsimError("thresholds: there are none; write e.g. 0.70:0.99:20 or 0.85,0.9,0.95")
    return tuple(sorted({float(value) for value in values}))


class _Session:
    """One call of `frontier`: what is done and what is to be done."""

    def __init__(self, scenario: Scenario, thresholds: tuple[float, ...], report: Report | None) -> None:
        self.scenario = scenario
        self.progress = Progress()
        self.done: list[tuple[Observed, list[Tally]]] = []
        self._report = report
        usual = usual_cache(scenario)
        self._ttl_s = usual.ttl_s
        self._caches = [usual._replace(threshold=one) for one in (*thresholds, _EXACT, _NONE)]

    def all(self) -> None:
        """Every replication, in order; runs in a thread of its own."""
        with rare_collections():
            for number in range(self.scenario.replications):
                observed, replication = observe(self.scenario, number, self.progress)
                if replication.partial:
                    raise SimulationInterrupted("interrupted")
                tallies = [observed.tally(cache) for cache in self._caches]
                observed.stream.forget_lists()
                self.done.append((observed, tallies))

    def tick(self) -> None:
        """Tell how far it is."""
        if self._report is not None:
            self._report(len(self.done), self.progress)

    def result(self, tolerance: Tolerance, ttls: tuple[float, ...] | None) -> Frontier:
        """What came of it."""
        columns = zip(*(tallies for _, tallies in self.done), strict=True)
        *points, exact_only, nothing = _points(self._caches, columns)
        found = Frontier(
            self.scenario,
            tuple(points),
            exact_only,
            nothing,
            (),
            tolerance,
            float(np.mean([observed.failed for observed, _ in self.done])),
            float(np.mean([observed.queue_s for observed, _ in self.done])),
            len(self.done) < self.scenario.replications,
        )
        if ttls is None:
            ttls = self._usual_ttls() if any(observed.changes for observed, _ in self.done) else ()
        threshold = (found.recommended or found.own).threshold
        caches = [self._caches[0]._replace(threshold=threshold, ttl_s=ttl_s) for ttl_s in ttls]
        lives = zip(*([observed.tally(cache) for cache in caches] for observed, _ in self.done), strict=True)
        return dataclasses.replace(found, ttls=tuple(_points(caches, lives)))

    def _usual_ttls(self) -> tuple[float, ...]:
        clock = self.scenario.clock
        most_s = clock.warm_up + clock.duration  # nothing gets older: what lives longer lives for ever
        base_s = min(self._ttl_s, most_s)
        lives = {base_s * factor for factor in _TTLS if base_s * factor < most_s}
        return (*sorted(lives - {self._ttl_s}), self._ttl_s) if self._ttl_s >= most_s else tuple(sorted(lives))


def _points(caches: Sequence[Cache], columns: Iterator[tuple[Tally, ...]]) -> Iterator[Point]:
    """One point a cache. Where few answers were wrong, they come in groups at least as at the cache before."""
    before = Spread(), Spread()
    for cache, tallies in zip(caches, columns, strict=True):
        wrong, squares = [one.wrong for one in tallies], [one.wrong_squares for one in tallies]
        requests, hits = [one.requests for one in tallies], [one.hits for one in tallies]
        spreads = spread_of(wrong, requests, squares), spread_of(wrong, hits, squares)
        if sum(wrong) < _FEW:
            spreads = max(spreads[0], before[0]), max(spreads[1], before[1])
        before = spreads
        yield Point(cache.threshold, cache.ttl_s, tallies, *spreads)
