"""What sessions add to the load, for the preflight: how many requests an arrival makes, when, and of which length.

Prompts hold answers, windows cut them, documents are looked up: there is no closed form. So a few hundred sessions of
every route are played through on a fixed seed, with the provider's mean service time for every answer and nothing that
goes wrong; agents that loop are played apart and weighted with their probability, since 1 in 200 is in no small sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.scenario.spec import Clock
from llmsim.traffic.conversations import Conversation
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Route, Traffic
from llmsim.traffic.workload import Workload

__all__ = ["SAMPLED", "Steps", "steps_of"]

Floats = NDArray[np.float64]

SAMPLED = 400  #: sessions of a route: four standard errors of the mean of geometric turns are 17 %
_LOOPING = 8  # of agents that loop; they are all of one length
_INTERVALS = 200  # of the measured time, at least
_OFFSETS = 200


class Steps(NamedTuple):
    """Requests that arrivals make; each array has shape ``(n,)``."""

    weights: Floats  #: how many such requests an arrival makes on average
    offsets_s: Floats  #: after the arrival
    input_tokens: Floats
    output_tokens: Floats
    length_s: float  #: of a session, first request to last answer, mean

    @property
    def each(self) -> float:
        """Requests an arrival."""
        return float(self.weights.sum())

    def load(self, shape: RateShape, clock: Clock) -> tuple[Floats, Floats, Steps]:
        """The rate of requests in the measured time, as a staircase on the scenario's clock, and what makes it up.

        Returns
        -------
        times, rates
            Knots.
        steps
            With the weights of requests that come before the end: what sessions would ask later is not asked.
        """
        begin_s, end_s = clock.warm_up, clock.warm_up + clock.duration
        # With the knots of the shape, so that a short crowd on a long day keeps its height.
        edges = np.union1d(np.linspace(begin_s, end_s, _INTERVALS + 1), shape.between(begin_s, end_s)[0])
        offsets_s, group = self._grouped()
        at = edges[None, :] - offsets_s[:, None]
        masses = np.where(at > 0, shape.masses(np.maximum(at, 0.0).ravel()).reshape(at.shape), 0.0)
        arrivals = np.diff(masses, axis=1)
        rates = np.bincount(group, self.weights) @ arrivals / np.diff(edges)
        knots = np.repeat(edges - begin_s, 2)[1:-1]
        return knots, np.repeat(rates, 2), self._replace(weights=self.weights * arrivals.sum(axis=1)[group])

    def _grouped(self) -> tuple[Floats, NDArray[np.intp]]:
        """A few hundred offsets at most that stand for all, and which of them each request has."""
        offsets_s, group = np.unique(self.offsets_s, return_inverse=True)
        if len(offsets_s) <= _OFFSETS:
            return offsets_s, group
        weights = np.bincount(group, self.weights)
        some = np.minimum((np.cumsum(weights) / weights.sum() * _OFFSETS).astype(np.intp), _OFFSETS - 1)
        _, some = np.unique(some, return_inverse=True)
        return np.bincount(some, weights * offsets_s) / np.bincount(some, weights), some[group]

    def mean(self, values: Floats) -> float:
        """Over requests."""
        total = float(self.weights.sum())
        return float(self.weights @ values) / total if total else 0.0


def steps_of(
    routes: tuple[Route, ...],
    shares: Floats,
    means: tuple[Floats, Floats],
    service_s: Callable[[float, float], float],
    middle_s: float,
) -> Steps | None:
    """What the arrivals of these routes make; None if none of them goes on after its first request.

    Parameters
    ----------
    routes, shares
        With their shares of the arrivals.
    means
        Input and output tokens of a request of each route that stands alone.
    service_s
        Time an answer takes, given its input and output tokens.
    middle_s
        A time on the scenario's clock at which prompts have drifted as far as they do on average.
    """
    if not any(route.ongoing is not None and share for route, share in zip(routes, shares, strict=True)):
        return None
    rows: list[tuple[float, float, float, float]] = []
    length_s = 0.0
    for route, share, inputs, outputs in zip(routes, shares.tolist(), *(some.tolist() for some in means), strict=True):
        if route.ongoing is None:
            rows.append((share, 0.0, inputs, outputs))
            length_s += share * service_s(inputs, outputs)
            continue
        for weight, some, kind in _kinds(route):
            for session in _played(kind, some, service_s, middle_s):
                each = share * weight / some
                rows += [(each, *step) for step in session]
                length_s += each * (session[-1][0] + service_s(*session[-1][1:]))
    columns = np.array([row for row in rows if row[0] > 0]).T
    return Steps(columns[0], columns[1], columns[2], columns[3], length_s)


def _kinds(route: Route) -> Iterator[tuple[float, int, Route]]:
    """Probability of sessions that loop or do not, how many of them to play, and a route with only such."""
    agent = route.agent
    if agent is None:
        yield 1.0, SAMPLED, route
        return
    for weight, some, sure in ((1 - agent.runaway, SAMPLED, 0.0), (agent.runaway, _LOOPING, 1.0)):
        if weight:
            yield weight, some, replace(route, agent=replace(agent, runaway=sure))


def _played(
    route: Route, count: int, service_s: Callable[[float, float], float], middle_s: float
) -> Iterator[list[tuple[float, float, float]]]:
    """Sessions as lists of (time after the arrival, input tokens, output tokens)."""
    workload = Workload(Traffic(base_rate=1.0, mix=(route,)), Luck("preflight"), now=lambda: middle_s)
    for index in range(count):
        _, truth = workload(index)
        assert isinstance(truth.session, Conversation)
        session, now_s, steps = truth.session, 0.0, []
        while True:
            request, truth = session.ask()
            answer = min(truth.output_tokens, route.max_tokens or truth.output_tokens)
            steps.append((now_s, float(request.input_tokens), float(answer)))
            now_s += service_s(request.input_tokens, answer)
            if session.after("ok", answer):
                break
            now_s += session.pause_s(now_s)
        yield steps
