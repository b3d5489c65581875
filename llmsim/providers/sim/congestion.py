"""The congestion that the models of one provider share: a look-up in a table by time.

The logarithm is a stationary Gaussian process with exponential autocorrelation (AR(1), Ornstein-Uhlenbeck), plus shocks
of random size and length. Both are weighted sums of addressed numbers, over knots and bins of time counted from the
scenario's 0, with finite memory. So the factor at any time is a pure function of (seed, group, bin): nothing has to be
drawn in order, and a longer warm-up changes nothing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.providers.sim.congestion_spec import Congestion

__all__ = ["SharedCongestion"]

Floats = NDArray[np.float64]

_BLOCK_BITS = 10
_BLOCK = 1 << _BLOCK_BITS  # bins computed at once
_KEPT = 8  # blocks; time goes forwards
_ORIGIN = 1 << 40  # index of the bin and of the knot at 0: addresses are not negative
_KNOTS_PER_MEMORY = 32  # the process is linear between knots: at most 1.6 % of its variance is lost, and corrected
_TAPS = 448  # knots back in which it forgets: exp(-14) of its weight is cut off
_BINS_PER_SHOCK = 20
_LONGEST_SHOCK = 8  # mean durations: one in 3,000 is cut there
_FINEST_S, _COARSEST_S = 0.5, 60.0  # bins


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Laguerre; finding them takes longer than all else there is to prepare."""
    return np.polynomial.laguerre.laggauss(64)


class SharedCongestion:
    """The factors of one group of providers.

    Parameters
    ----------
    spec
        Its law.
    luck, group
        Its address.
    zero_s
        Loop time of the scenario's 0.
    """

    def __init__(self, spec: Congestion, luck: Luck, group: str, *, zero_s: float = 0.0) -> None:
        law = spec.law
        self._sigma, self._shocks = law.sigma, law.shocks
        self._memory_s = law.memory_s
        lengths = [law.memory_s] + ([law.shocks.duration] if law.shocks is not None else [])
        self.bin_s = min(max(min(lengths) / _BINS_PER_SHOCK, _FINEST_S), _COARSEST_S)  #: constant within
        self._inter_token = spec.inter_token
        self._series = {
            what: luck.series(f"congestion.{what}", group) for what in ("knot", "shock", "shock_size", "shock_length")
        }
        decay = math.exp(-1 / _KNOTS_PER_MEMORY)
        taps = decay ** np.arange(_TAPS)
        self._taps = taps / math.sqrt(float(taps @ taps))
        self._neighbours = float(self._taps[1:] @ self._taps[:-1])  # correlation of two knots
        self._lookback = 0
        if law.shocks is not None:
            self._lookback = math.ceil(_LONGEST_SHOCK * law.shocks.duration / self.bin_s)
        self._parts = [(part, self._mean_shock(part)) for part in (1.0, self._inter_token) if part]
        self._zero_s = zero_s
        self._bins_per_s = 1 / self.bin_s
        self._blocks: dict[int, list[tuple[float, float]]] = {}

    def factors(self, now: float) -> tuple[float, float]:
        """Multipliers of time to first token, and of token gaps, at loop time `now`."""
        index = math.floor((now - self._zero_s) * self._bins_per_s)
        block = self._blocks.get(index >> _BLOCK_BITS) or self._make(index >> _BLOCK_BITS)
        return block[index & (_BLOCK - 1)]

    def _make(self, number: int) -> list[tuple[float, float]]:
        slow, variance = self._slow(number * _BLOCK)
        shocks = self._shocks_of(number * _BLOCK)
        both = []
        for part, mean_shock in self._parts:
            sigma = self._sigma * part
            # The mean of a lognormal is above its median by this, and shocks raise it by a known factor.
            values = np.exp(sigma * slow - sigma**2 * variance / 2) * np.exp(part * shocks) / mean_shock
            both.append(values.tolist())
        if len(self._blocks) >= _KEPT:
            del self._blocks[next(iter(self._blocks))]
        gaps = both[1] if self._inter_token else [1.0] * _BLOCK
        block = self._blocks[number] = list(zip(both[0], gaps, strict=True))
        return block

    def _uniforms(self, what: str, first: int, count: int) -> Floats:
        """Elements from `first` on, which may be negative and any number."""
        start = _ORIGIN + first
        ragged = start % 4
        return self._series[what].array(start - ragged, count + ragged)[ragged:]

    def _slow(self, first: int) -> tuple[Floats, Floats]:
        """The standard process in a block of bins, and its variance there."""
        from scipy.special import ndtri

        place = (first + np.arange(_BLOCK)) * (self.bin_s * _KNOTS_PER_MEMORY / self._memory_s)
        knot = np.floor(place).astype(np.int64)
        rest = place - knot
        low, count = int(knot[0]), int(knot[-1] - knot[0]) + 2
        normals = ndtri(self._uniforms("knot", low - _TAPS + 1, count + _TAPS - 1))
        knots = np.convolve(normals, self._taps, mode="valid")
        left, right = knots[knot - low], knots[knot - low + 1]
        variance = rest**2 + (1 - rest) ** 2 + 2 * rest * (1 - rest) * self._neighbours
        return left + rest * (right - left), variance

    def _shocks_of(self, first: int) -> Floats:
        """Logarithm of all shocks in a block of bins."""
        found = np.zeros(_BLOCK)
        if self._shocks is None:
            return found
        early, count = first - self._lookback, _BLOCK + self._lookback
        begins = np.flatnonzero(self._uniforms("shock", early, count) < self._start_probability)
        if not len(begins):
            return found
        sizes = np.log1p(-(self._shocks.factor - 1) * np.log1p(-self._uniforms("shock_size", early, count)[begins]))
        lengths = self._lengths(self._uniforms("shock_length", early, count)[begins])
        for begin, size, length in zip(begins.tolist(), sizes.tolist(), lengths.tolist(), strict=True):
            start = begin - self._lookback
            found[max(start, 0) : max(start + length, 0)] += size
        return found

    @property
    def _start_probability(self) -> float:
        """That a shock begins in a bin."""
        assert self._shocks is not None
        return -math.expm1(-self.bin_s / self._shocks.every)

    def _lengths(self, uniforms: Floats) -> NDArray[np.int64]:
        """Of shocks, in whole bins: geometric with the mean that was asked for."""
        assert self._shocks is not None
        going_on = max(1 - self.bin_s / self._shocks.duration, 0.0)
        if not going_on:
            return np.ones(len(uniforms), dtype=np.int64)
        lengths = 1 + np.floor(np.log1p(-uniforms) / math.log(going_on))
        return np.asarray(np.minimum(lengths, self._lookback), dtype=np.int64)

    def _mean_shock(self, part: float) -> float:
        """Expected product of all shocks of a moment, each to the power `part`; each bin may begin one."""
        shocks = self._shocks
        if shocks is None or shocks.factor <= 1 or not part:
            return 1.0
        # E[(1 + (factor - 1)·X)**part] for an exponential X, by Gauss-Laguerre.
        nodes, weights = _quadrature()
        size = float(weights @ (1 + (shocks.factor - 1) * nodes) ** part)
        going_on = max(1 - self.bin_s / shocks.duration, 0.0)
        alive = going_on ** np.arange(self._lookback)  # that it is still on, so many bins later
        return float(np.prod(1 + self._start_probability * alive * (size - 1)))
