"""Closed forms of queueing theory, and the statistics to hold a simulation to them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


def erlang_b(c: int, load: float) -> float:
    """Share of calls lost at `c` servers without a queue, offered `load` = λ/μ (by the usual recursion)."""
    blocked = 1.0
    for servers in range(1, c + 1):
        blocked = load * blocked / (servers + load * blocked)
    return blocked


def erlang_c(c: int, load: float) -> float:
    """P(wait > 0) in M/M/c."""
    blocked = erlang_b(c, load)
    return blocked / (1 - load / c * (1 - blocked))


def mean_wait(c: int, load: float, mu: float = 1.0) -> float:
    """Mean wait in M/M/c, those who do not wait included."""
    return erlang_c(c, load) / (mu * (c - load))


class Retried(NamedTuple):
    """M/M/c at 1/μ = 1 s whose calls fail as they end and are made again after a pause, up to a number of attempts.

    Calls that come back make a network of product form (Baskett, Chandy, Muntz & Palacios 1975): each of them waits as
    in M/M/c under the load of all, and the pause is no more than a delay. That holds where whether a call fails depends
    on nothing, every call takes as long in distribution, first come is first served, and the load is below c.
    """

    servers: int
    fails: float
    again_s: float

    def load(self, rate: float, attempts: int) -> float:
        """Servers that are busy on average."""
        return rate * (1 - self.fails**attempts) / (1 - self.fails)

    def most(self, attempts: int) -> float:
        """The rate at which all servers are busy."""
        return self.servers * (1 - self.fails) / (1 - self.fails**attempts)

    def answered_s(self, rate: float, attempts: int) -> float:
        """Mean time to the answer of a request that gets one."""
        fails, load = self.fails, self.load(rate, attempts)
        share = 1 - fails**attempts
        calls = sum(n * fails ** (n - 1) * (1 - fails) for n in range(1, attempts + 1)) / share
        return (
            math.inf
            if load >= self.servers
            else calls * (mean_wait(self.servers, load) + 1) + (calls - 1) * self.again_s
        )


def mmck(c: int, k: int, load: float) -> np.ndarray:
    """Stationary distribution of the number in M/M/c/K, shape ``(k + 1,)``."""
    weights = [1.0]
    for number in range(1, k + 1):
        weights.append(weights[-1] * load / min(number, c))
    return np.array(weights) / sum(weights)


def lindley(arrival: np.ndarray, service: np.ndarray) -> np.ndarray:
    """Waits at one server, first come first served and empty at first: W' = max(0, W + S − T). Shapes ``(n,)``."""
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - np.diff(arrival))])
    return walk - np.minimum.accumulate(walk)


class Estimate(NamedTuple):
    """A mean over independent replications."""

    mean: float
    error: float  #: its standard error

    @classmethod
    def of(cls, values: list[float] | np.ndarray) -> Estimate:
        values = np.asarray(values, dtype=float)
        return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))

    @classmethod
    def controlled(cls, values: np.ndarray, controls: np.ndarray, expected: np.ndarray) -> Estimate:
        """With control variates: regressed on quantities whose means are known, taken where those have their means.

        The error allows for a scatter that grows with the controls, as that of waits does
        (HC3; MacKinnon & White 1985).

        Parameters
        ----------
        values
            One a replication, shape ``(n,)``.
        controls, expected
            Shapes ``(n, m)`` and ``(m,)``.
        """
        design = np.column_stack([np.ones(len(values)), controls - expected])
        coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
        rest = values - design @ coefficients
        weights = np.linalg.inv(design.T @ design) @ design.T
        leverage = np.einsum("ij,ji->i", design, weights)
        return cls(float(coefficients[0]), math.sqrt(np.sum((weights[0] * rest / (1 - leverage)) ** 2)))

    def z(self, expected: float) -> float:
        """How many standard errors it is off."""
        return (self.mean - expected) / self.error

    def __str__(self) -> str:
        return f"{self.mean:.6g} ± {self.error:.2g} ({self.error / abs(self.mean):.2%})"
