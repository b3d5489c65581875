"""A population of clients: who they are, how much of the traffic each sends, and what each asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.traffic.burstiness import Burstiness
from llmsim.traffic.spec import Route, Traffic

__all__ = ["Member", "Mixes", "mixes", "population"]


class Member(NamedTuple):
    """One client."""

    name: str  #: by which its luck is addressed, and what requests call their user
    share: float  #: of all arrivals
    arrivals: str | Burstiness
    mix: int  #: row of `Mixes.edges`


def population(traffic: Traffic) -> list[Member]:
    """The clients, named ones first; their shares add up to 1.

    Examples
    --------
    >>> from llmsim.traffic.spec import Client, Clients
    >>> some = Clients(named=(Client(client="batch", share=0.4),), count=3, zipf=1.0)
    >>> [(one.name, round(one.share, 3)) for one in population(Traffic(base_rate=1.0, clients=some))]
    [('batch', 0.4), ('c0', 0.327), ('c1', 0.164), ('c2', 0.109)]
    """
    clients = traffic.clients
    assert clients is not None
    named = [
        Member(one.client, one.share, one.arrivals or traffic.arrivals, row)
        for row, one in enumerate(clients.named, 1)
        if one.share > 0
    ]
    weights = np.arange(1, clients.count + 1, dtype=np.float64) ** -clients.zipf
    left = max(0.0, 1 - sum(one.share for one in clients.named))
    shares = (weights * (left / weights.sum())).tolist() if clients.count else []
    taken = {one.client for one in clients.named}
    prefix = next(
        mark for mark in ("c", "other", "anonymous") if not any(f"{mark}{k}" in taken for k in range(len(shares)))
    )
    return named + [Member(f"{prefix}{number}", share, traffic.arrivals, 0) for number, share in enumerate(shares)]


class Mixes(NamedTuple):
    """Which routes there are, and how often each is asked for by whom."""

    routes: tuple[Route, ...]  #: of the traffic's mix, then those of clients that have their own
    edges: NDArray[np.float64]  #: shape (mixes, routes): cumulative shares; row 0 is the traffic's own mix

    def draw(self, mix: NDArray[np.intp], u: NDArray[np.float64]) -> NDArray[np.intp]:
        """Number of the route of each arrival, from the row of its mix and a number in (0, 1), both ``(n,)``."""
        routes = np.empty(len(u), dtype=np.intp)
        for row in np.unique(mix):
            chosen = mix == row
            routes[chosen] = np.searchsorted(self.edges[row], u[chosen])
        return routes


def mixes(traffic: Traffic) -> Mixes:
    """The routes of all clients: row 0 for those without a name, row *k* for the *k*-th named one.

    Examples
    --------
    >>> from llmsim.traffic.spec import Client, Clients
    >>> both = (Client(client="a", share=0.5), Client(client="b", share=0.5, tenant="b", mix=(Route(route="batch"),)))
    >>> table = mixes(Traffic(base_rate=1.0, clients=Clients(named=both)))
    >>> [(one.route, one.tenant) for one in table.routes], table.edges.tolist()
    ([('default', ''), ('batch', 'b')], [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    """
    routes = list(traffic.mix)
    rows = [[route.weight for route in traffic.mix]]
    for client in traffic.clients.named if traffic.clients is not None else ():
        if client.mix or client.tenant:
            own = client.mix or traffic.mix
            rows.append([0.0] * len(routes) + [route.weight for route in own])
            routes += [replace(route, tenant=client.tenant or route.tenant) for route in own]
        else:
            rows.append(rows[0])
    edges = np.zeros((len(rows), len(routes)))
    for row, weights in zip(edges, rows, strict=True):
        row[: len(weights)] = weights
    edges = np.cumsum(edges / edges.sum(axis=1, keepdims=True), axis=1)
    edges[edges > 1 - 1e-12] = 1.0
    return Mixes(tuple(routes), edges)
