"""Answers from a cache that were made for somebody they may not be shared with.

Two tenants may share an answer only if the policy that keeps it says so (``scope: global``); with ``scope: user``, two
users may not either. Where it stands who an answer was made for (llmsim's own caches say so) that is looked up. Of a
cache of somebody's own only what it serves can be seen: there an answer counts if nobody of the asker's tenant had been
answered from an upstream, about this topic, when it was served. That misses answers that the tenant could have had of
its own, so it is a lower bound; and takes a wrong answer about another topic for somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import request_address
from llmsim.telemetry.packed import packed
from llmsim.telemetry.recorder import ColumnData, TableData

__all__ = ["CROSSINGS_KNOWN", "TENANTS_KNOWN", "Scope", "crossings"]

#: Counter of a replication: 1 if ``cross_scope`` is known of every answer.
CROSSINGS_KNOWN = "cross_scope_known"
TENANTS_KNOWN = "cross_tenant_known"  #: the same of ``cross_tenant``, which asks nobody's policy what is allowed

Bools = NDArray[np.bool_]
Scope = Literal["tenant", "user", "global"]


def crossings(
    requests: TableData, scope: Scope, topic: Callable[[int], int | None] | None = None
) -> tuple[ColumnData, bool]:
    """Which of the answers from a cache crossed a scope.

    Parameters
    ----------
    requests
        Of one replication, in the order of their ids.
    scope
        The widest that its caches have.
    topic
        What an arrival is about; None: nothing is said about that.

    Returns
    -------
    ColumnData
        The column ``cross_scope``.
    bool
        Whether it can be told of every answer.
    """
    hits = _is(requests["outcome"], "ok") & _is(requests["served_from"], "cache")
    crossed: Bools = np.zeros(len(hits), dtype=np.bool_)
    alone = scope == "tenant" and len(requests["tenant"].categories or ()) < 2
    if scope == "global" or alone or not hits.any():
        return ColumnData(packed(crossed)), True
    rows = np.flatnonzero(hits)
    made_for = requests["made_for"].values
    known = np.array([bool(made_for[row]) for row in rows], dtype=np.bool_)
    _of_known(requests, rows[known], scope, crossed)
    own = rows[~known]
    if not len(own):
        return ColumnData(packed(crossed)), True
    if topic is None:
        return ColumnData(packed(crossed)), False
    _of_others(requests, own, topic, crossed)
    return ColumnData(packed(crossed)), True


def _is(column: ColumnData, word: str) -> Bools:
    assert column.categories is not None
    if word not in column.categories:
        return np.zeros(len(column.values), dtype=np.bool_)
    return np.asarray(column.values == column.categories.index(word))


def _of_known(requests: TableData, rows: NDArray[np.intp], scope: Scope, crossed: Bools) -> None:
    """Those whose rows say whom the answer was made for."""
    if not len(rows):
        return
    session, step, again = (requests[name].values.astype(np.int64) for name in ("session", "step", "user_retry"))
    made_for = requests["made_for"].values
    wanted = np.array([request_address(str(made_for[row])) or (-2, 0, 0) for row in rows.tolist()], dtype=np.int64)
    steps, retries = (1 + max(int(one.max()), int(wanted[:, n].max())) for n, one in ((1, step), (2, again)))
    known = (session * steps + step) * retries + again  # ascending, as the rows are
    maker = (wanted[:, 0] * steps + wanted[:, 1]) * retries + wanted[:, 2]
    at = np.minimum(np.searchsorted(known, maker), len(known) - 1)
    parts: list[NDArray[Any]] = [requests["tenant"].values]
    if scope == "user":
        parts.append(requests["user"].values)
    other = np.zeros(len(rows), dtype=np.bool_)
    for part in parts:
        other |= part[at] != part[rows]
    crossed[rows] = other & (known[at] == maker)


def _of_others(requests: TableData, rows: NDArray[np.intp], topic: Callable[[int], int | None], crossed: Bools) -> None:
    """Those of somebody's own cache."""
    ok = _is(requests["outcome"], "ok")
    sent = np.flatnonzero(ok & ~_is(requests["served_from"], "cache"))
    arrival_s, e2e_s = requests["arrival_s"].values, requests["e2e_s"].values
    tenant, session, step = (requests[name].values for name in ("tenant", "session", "step"))
    first: dict[tuple[int, int | None], float] = {}  # when somebody of a tenant was first answered about a topic
    for row in sent.tolist():
        if step[row]:
            continue
        key = (int(tenant[row]), topic(int(session[row])))
        first[key] = min(first.get(key, np.inf), float(arrival_s[row] + e2e_s[row]))
    for row in rows.tolist():
        about = topic(int(session[row])) if not step[row] else None
        if about is not None:
            crossed[row] = first.get((int(tenant[row]), about), np.inf) > arrival_s[row] + e2e_s[row]
