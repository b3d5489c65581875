"""When requests come.

Three layers, each addressed by its own luck. Gaps of mean 1 (`llmsim.traffic.gaps`) add up to a cumulative mass. Moods
(`llmsim.traffic.moods`) stretch and squeeze it: the mass that a piece of time can hold is multiplied. The shape
(`llmsim.traffic.shape`) turns mass into loop time. So the n-th gap of a client and the n-th burst are the same under
every load, and only their meeting changes.

A population of clients is as many such processes, merged stretch by stretch. The cost is linear: every client draws
blocks as long as its share of a stretch, and a stretch holds some dozen arrivals of every client on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.traffic.burstiness import Burstiness
from llmsim.traffic.clients import population
from llmsim.traffic.gaps import family_of_gaps, first_gap
from llmsim.traffic.moods import Pieces, moods
from llmsim.traffic.replay import replayed, sessions_of
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Traffic

__all__ = ["BLOCK", "Arrivals", "Given", "arrival_times"]

BLOCK = 1024  #: arrivals in a block; `llmsim.traffic.workload` prepares rows in the same blocks

Floats = NDArray[np.float64]

_STRETCH = 4096  # expected arrivals that are merged at once, at least
_ARRIVALS_A_CLIENT = 16  # in a stretch, on average


class Given(NamedTuple):
    """What is known of some arrivals before anything is drawn for them; each array has shape ``(count,)``."""

    client: NDArray[np.intp] | None = None  #: number in `population`
    input_tokens: NDArray[np.int64] | None = None  #: 0: the trace does not say
    output_tokens: NDArray[np.int64] | None = None  #: 0: the trace does not say, or the request failed there
    route: NDArray[np.intp] | None = None  #: number in the mix; −1: the trace does not say


def arrival_times(traffic: Traffic, shape: RateShape, luck: Luck) -> Iterator[list[float]]:
    """Loop times of the arrivals of an open loop, in blocks; ends when the rate never brings another one."""
    return iter(Arrivals(traffic, shape, luck))


class Arrivals:
    """The arrivals of one replication: their times by iterating, and what is given about them by number.

    Parameters
    ----------
    traffic
        An open loop, or a trace (of sessions that are replayed in turn, the first requests).
    shape
        Its rate over loop time.
    luck
        Of the replication.
    """

    def __init__(self, traffic: Traffic, shape: RateShape, luck: Luck) -> None:
        self._traffic = traffic
        self._shape = shape
        self._luck = luck
        self._clients: list[NDArray[np.uint16]] = []  # of the blocks so far

    def __iter__(self) -> Iterator[list[float]]:
        traffic = self._traffic
        if traffic.trace is not None:
            times = replayed(traffic.trace).times_s
            sessions = sessions_of(traffic.trace)
            times = times if sessions is None else times[sessions.heads]
            return (times[first : first + BLOCK].tolist() for first in range(0, len(times), BLOCK))
        return self._one_source() if traffic.clients is None else self._many()

    def given(self, first: int, count: int) -> Given:
        """What is known about arrivals ``first … first + count`` already.

        `first` is a multiple of `BLOCK` and `count` at most that; the block must have been iterated over. Rows after
        the last arrival are zeros.
        """
        traffic = self._traffic
        if traffic.trace is not None:
            return _of_trace(traffic, first, count)
        if traffic.clients is None:
            return Given()
        assert first % BLOCK == 0 and count <= BLOCK, "clients are kept by blocks"
        number = first // BLOCK
        known = self._clients[number] if number < len(self._clients) else np.zeros(0, dtype=np.uint16)
        client = np.zeros(count, dtype=np.intp)
        client[: len(known)] = known[:count]
        return Given(client=client)

    def _one_source(self) -> Iterator[list[float]]:
        source = _Source(self._traffic.arrivals, 1.0, self._shape, self._luck, (), BLOCK, alone=True)
        while True:
            times = self._shape.at(source.more())
            finite = np.isfinite(times)
            yield times[finite].tolist()
            if not finite.all():
                return

    def _many(self) -> Iterator[list[float]]:
        """All clients merged, in whole blocks."""
        self._clients = []
        masses, numbers = np.zeros(0), np.zeros(0, dtype=np.uint16)
        for some, whose in self._stretches():
            masses, numbers = np.concatenate([masses, some]), np.concatenate([numbers, whose])
            while len(masses) >= BLOCK:
                self._clients.append(numbers[:BLOCK])
                yield self._shape.at(masses[:BLOCK]).tolist()
                masses, numbers = masses[BLOCK:], numbers[BLOCK:]
        self._clients.append(numbers)
        yield self._shape.at(masses).tolist()

    def _stretches(self) -> Iterator[tuple[Floats, NDArray[np.uint16]]]:
        """Masses of arrivals in order, and whose they are; ends where no rate is left."""
        people = population(self._traffic)
        length = float(max(_STRETCH, _ARRIVALS_A_CLIENT * len(people)))
        sources = [
            _Source(one.arrivals, one.share, self._shape, self._luck, ("client", one.name), _block(one.share * length))
            for one in people
        ]
        until, total = 0.0, self._shape.total
        while until < total:
            until = min(until + length, total)
            taken = [source.until(until) for source in sources]
            masses = np.concatenate(taken)
            numbers = np.repeat(np.arange(len(taken), dtype=np.uint16), [len(one) for one in taken])
            order = np.argsort(masses, kind="stable")  # at one moment, the client with the lower number first
            yield masses[order], numbers[order]


def _block(expected: float) -> int:
    """A block of gaps about as long as a stretch, in powers of two."""
    return int(min(4096, max(16, 2 ** math.ceil(math.log2(max(expected, 1.0))))))


def _of_trace(traffic: Traffic, first: int, count: int) -> Given:
    assert traffic.trace is not None
    trace = replayed(traffic.trace)
    rows = np.arange(first, first + count)
    sessions = sessions_of(traffic.trace)
    if sessions is None:
        rows = np.minimum(rows, max(len(trace) - 1, 0))
    else:
        rows = sessions.heads[np.minimum(rows, max(len(sessions.starts) - 2, 0))]
    route = None
    if trace.route is not None:
        names = [one.route for one in traffic.mix]
        numbers = np.array([names.index(name) if name in names else -1 for name in trace.routes] or [-1], dtype=np.intp)
        route = np.where(trace.route[rows] >= 0, numbers[trace.route[rows]], -1)
    return Given(input_tokens=trace.input_tokens[rows], output_tokens=trace.output_tokens[rows], route=route)


class _Source:
    """One arrival process, as masses of the whole shape.

    Parameters
    ----------
    arrivals
        Its burstiness.
    share
        Of all arrivals.
    address
        Of its luck.
    block
        How many gaps are drawn at once.
    alone
        Whether it is all there is: then even spacing starts with a whole gap.
    """

    def __init__(
        self,
        arrivals: str | Burstiness,
        share: float,
        shape: RateShape,
        luck: Luck,
        address: tuple[object, ...],
        block: int,
        *,
        alone: bool = False,
    ) -> None:
        family = family_of_gaps(arrivals)
        self._gaps = luck.series("arrival", *address, through=family)
        self._block = block
        self._drawn = 0
        self._reached = 0.0  # own mass
        u, v = luck.series("arrival.first", *address).array(0, 4)[:2].tolist()
        self._first = None if alone and arrivals == "constant" else first_gap(family, u, v)
        mood = moods(arrivals, luck, *address)
        self._stretched = _Moody(mood, shape) if mood is not None else None
        self._share = share
        self._left = np.zeros(0)

    def more(self) -> Floats:
        """The next block of masses; inf for what never comes."""
        gaps = self._gaps.array(self._drawn, self._block)
        if self._first is not None:
            gaps = gaps.copy()
            gaps[0] = self._first
            self._first = None
        self._drawn += self._block
        own = self._reached + np.cumsum(gaps)
        self._reached = float(own[-1])
        masses = own / self._share if self._share != 1.0 else own
        return masses if self._stretched is None else self._stretched.at(masses)

    def until(self, mass: float) -> Floats:
        """The masses below this one that have not been handed out yet."""
        kept = [self._left]
        while not len(kept[-1]) or kept[-1][-1] < mass:
            kept.append(self.more())
        found = np.concatenate(kept)
        end = int(np.searchsorted(found, mass, side="left"))
        self._left = found[end:]
        return found[:end]


class _Moody:
    """From mass as it would come at an even temper to mass of the shape, through pieces of time with multipliers."""

    def __init__(self, pieces: Iterator[Pieces], shape: RateShape) -> None:
        self._pieces = pieces
        self._shape = shape
        self._end_s = 0.0
        # Ends of the pieces that are still needed, as mass of the shape and as mass under the moods.
        self._shape_mass = np.zeros(1)
        self._mass = np.zeros(1)
        self._over = False  # the shape has no mass left

    def at(self, mass: Floats) -> Floats:
        """Masses of the shape at which the moods have let through `mass`; these increase from call to call."""
        used = int(np.searchsorted(self._mass, mass[0], side="left")) - 1
        if used > 0:
            self._shape_mass, self._mass = self._shape_mass[used:], self._mass[used:]
        blocks = [(self._shape_mass, self._mass)]
        while blocks[-1][1][-1] < mass[-1] and not self._over:
            blocks.append(self._next(blocks[-1][0][-1], blocks[-1][1][-1]))
        self._shape_mass = np.concatenate([one[0] for one in blocks])
        self._mass = np.concatenate([one[1] for one in blocks])
        # The piece that ends at or after the mass and began before it: never one without any.
        end = np.searchsorted(self._mass, mass, side="left")
        never = end == len(self._mass)
        end = np.clip(end, 1, len(self._mass) - 1)
        low, high = self._mass[end - 1], self._mass[end]
        with np.errstate(divide="ignore", invalid="ignore"):  # where it never comes, there is no such piece
            inside = (mass - low) / (high - low)
            found = self._shape_mass[end - 1] + inside * (self._shape_mass[end] - self._shape_mass[end - 1])
        return np.where(never, np.inf, found)

    def _next(self, shape_mass: float, mass: float) -> tuple[Floats, Floats]:
        pieces = next(self._pieces)
        ends_s = self._end_s + np.cumsum(pieces.lengths_s)
        self._end_s = float(ends_s[-1])
        ends = self._shape.masses(ends_s)
        self._over = bool(ends[-1] >= self._shape.total)
        widths = np.diff(ends, prepend=shape_mass)
        return ends, mass + np.cumsum(np.maximum(widths, 0.0) * pieces.multipliers)
