"""A rate with moods: pieces of time, each with a multiplier, whose mean over time is 1.

Pieces are numbered from the start of the run; piece *k* is a function of the seed and of *k*, whatever the load. Every
mood is met in its stationary state: a run does not begin with a burst more often than any other moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution, Exponential
from llmsim.luck import Luck, Series
from llmsim.traffic.burstiness import Burstiness, Drift, OnOff, State

__all__ = ["Pieces", "moods"]

Floats = NDArray[np.float64]

_PIECES = 256  # drawn at once; a multiple of 4, as blocks of luck are
_STEPS_A_MEMORY = 32  # of a drifting rate; the correlation of neighbours is exp(−1/32) = .97
_GRID = (np.arange(8192) + 0.5) / 8192


class Pieces(NamedTuple):
    """Consecutive stretches of time with a constant multiplier, each of shape ``(n,)``."""

    lengths_s: Floats
    multipliers: Floats


def moods(arrivals: str | Burstiness, luck: Luck, *address: object) -> Iterator[Pieces] | None:
    """What the rate is multiplied with, from loop time 0 on, without end; None if it has no moods.

    Parameters
    ----------
    arrivals
        What the scenario says.
    luck
        Where the numbers come from.
    address
        Whose moods; luck is addressed by ``("arrival.mood", *address, number of the piece)``.
    """
    if not isinstance(arrivals, Burstiness):
        return None
    if arrivals.on_off is not None:
        return _bursts(arrivals.on_off, luck, address)
    if arrivals.mmpp:
        return _states(arrivals.mmpp, luck, address)
    return _drifting(arrivals.drift, luck, address) if arrivals.drift is not None else None


def _series(luck: Luck, what: str, address: tuple[object, ...], through: Distribution | None = None) -> Series:
    return luck.series(f"arrival.mood.{what}", *address, through=through)


def _bursts(spec: OnOff, luck: Luck, address: tuple[object, ...]) -> Iterator[Pieces]:
    """Burst, pause, burst, pause, …"""
    burst_s = _series(luck, "burst", address, spec.burst)
    pause_s = _series(luck, "pause", address, spec.pause)
    density = _series(luck, "density", address)
    mean_burst_s, mean_pause_s = _mean(spec.burst), _mean(spec.pause)
    inside = (mean_burst_s + mean_pause_s) / mean_burst_s
    start = _series(luck, "start", address).array(0, 4)
    first = 0
    while True:
        lengths = np.column_stack([burst_s.array(first, _PIECES), pause_s.array(first, _PIECES)])
        rates = inside * _lognormal(density.array(first, _PIECES), spec.spread)
        multipliers = np.column_stack([rates, np.zeros(_PIECES)])
        if first == 0:
            # The moment 0 falls into a burst or a pause in proportion to their lengths, and into long ones more often.
            in_burst = start[0] < mean_burst_s / (mean_burst_s + mean_pause_s)
            lengths[0, 0] = _rest(spec.burst, start[1], start[2]) if in_burst else 0.0
            if not in_burst:
                lengths[0, 1] = _rest(spec.pause, start[1], start[2])
        first += _PIECES
        yield Pieces(lengths.ravel(), multipliers.ravel())


def _states(states: tuple[State, ...], luck: Luck, address: tuple[object, ...]) -> Iterator[Pieces]:
    """A Markov chain that stays exponentially long and then goes to any other state with equal chances."""
    stays = np.array([state.stay for state in states])
    rates = np.array([state.rate for state in states])
    shares = stays / stays.sum()  # of time, as every state is entered equally often
    rates = rates / float((rates * shares).sum())
    stay = _series(luck, "stay", address, Exponential(1.0))
    step = _series(luck, "step", address)
    start = float(_series(luck, "start", address).array(0, 4)[0])
    state = min(int(np.searchsorted(np.cumsum(shares), start)), len(states) - 1)
    first, others = 0, len(states) - 1
    while True:
        steps = 1 + np.minimum((step.array(first, _PIECES) * others).astype(np.int64), others - 1)
        visited = (state + np.cumsum(steps) - steps) % len(states)
        state = int(visited[-1] + steps[-1]) % len(states)
        yield Pieces(stay.array(first, _PIECES) * stays[visited], rates[visited])
        first += _PIECES


def _drifting(spec: Drift, luck: Luck, address: tuple[object, ...]) -> Iterator[Pieces]:
    """An Ornstein-Uhlenbeck process, exact at equal steps, constant between them."""
    from scipy.signal import lfilter
    from scipy.special import ndtri

    length_s = spec.memory / _STEPS_A_MEMORY
    kept = math.exp(-1 / _STEPS_A_MEMORY)
    sigma = math.sqrt(math.log1p(spec.cv**2))
    shocks = _series(luck, "shock", address)
    state = np.zeros(1)
    first = 0
    while True:
        normal = ndtri(shocks.array(first, _PIECES)) * math.sqrt(1 - kept**2)
        if first == 0:
            normal[0] /= math.sqrt(1 - kept**2)  # the first is stationary already
        level, state = lfilter([1.0], [1.0, -kept], normal, zi=state)
        yield Pieces(np.full(_PIECES, length_s), np.exp(sigma * level - sigma**2 / 2))
        first += _PIECES


def _lognormal(u: Floats, cv: float) -> Floats:
    """Lognormal with mean 1."""
    from scipy.special import ndtri

    sigma = math.sqrt(math.log1p(cv**2))
    return np.asarray(np.exp(sigma * ndtri(u) - sigma**2 / 2), dtype=np.float64)


def _mean(distribution: Distribution) -> float:
    """Of lengths, which are not negative."""
    return max(float(distribution.mean), 0.0)


def _rest(distribution: Distribution, u: float, v: float) -> float:
    """What is left of the stretch that a random moment falls into: a share `u` of one that is drawn by its length."""
    lengths = distribution.quantile(_GRID)
    weights = np.cumsum(lengths)
    return u * float(lengths[min(int(np.searchsorted(weights, v * weights[-1])), len(lengths) - 1)])
