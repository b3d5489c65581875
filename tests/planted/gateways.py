"""One gateway that does everything right, for any scenario of the library.

``llmsim check scenarios/ --gateway tests.planted.gateways:good``. Every planted bug is this one with one change
(`changed`), so whatever a check says of the bug beyond what it says of `good`, it says of that change.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from llmsim import Gateway
from llmsim.gateway.policies import (
    Backoff,
    Budget,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Retry,
    RunawayGuard,
    SemanticCache,
    StructuredOutput,
    Timeout,
    WaitingLine,
)
from llmsim.gateway.registry import kind_of

#: What another upstream may cure. A bad request, a used-up budget and a deadline that has passed it does not.
ELSEWHERE = (
    "rate_limited",
    "quota_exhausted",
    "server_error",
    "timeout",
    "connection_failed",
    "circuit_open",
    "rejected",
    "auth_error",
    "stream_broken",
    "bad_output",
)

RETRY = Retry(
    max_attempts=2,
    backoff=Backoff(initial=0.2, max=2.0, jitter="full"),
    # A first token that is late is asked for once more: where there is one provider, nobody else could be.
    on=("rate_limited", "server_error", "connection_failed", "ttft_timeout"),
    # Whoever asks for more time than this is left to the fallback at once.
    max_retry_after=1.0,
    budget=0.2,
)

good = Gateway(
    replicas=2,
    balancer="least_in_flight",
    policies=(
        # One store for both replicas, nothing crosses tenants (scope: tenant is the default).
        SemanticCache(threshold=0.92, ttl=3600.0, capacity=50_000, backend="redis"),
        RunawayGuard(max_calls=40, max_repeats=3, shared=True),
        Budget(limit=1.0, per="user", window="hour", shared=True),
        Deadline(timeout=30.0),
        # No order: the upstreams as the scenario declares them.
        Fallback(on=ELSEWHERE, mid_stream="continue"),
        StructuredOutput(max_attempts=2),
        RETRY,
    ),
    upstream=(
        ConcurrencyLimit(limit=100, queue=WaitingLine(limit=100, timeout=2.0), shared=True),
        CircuitBreaker(
            failure_rate=0.2,
            sliding_window=10.0,
            minimum_calls=20,
            wait_in_open=15.0,
            permitted_in_half_open=10,
            shared=True,
        ),
        Timeout(ttft=4.0, inter_token=2.0),
    ),
)


def changed(gateway: Gateway = good, /, **changes: Any) -> Gateway:
    """The gateway with policies changed, by kind: another in its place (or several), None, or a dict of its settings.

    Examples
    --------
    >>> changed(retry={"budget": None}, budget=None).policies[-1].budget is None
    True
    """
    unused = set(changes)

    def applied(policies: tuple[Any, ...]) -> tuple[Any, ...]:
        kept = []
        for policy in policies:
            kind = kind_of(policy)
            unused.discard(kind)
            change = changes.get(kind, policy)
            if isinstance(change, dict):
                change = dataclasses.replace(policy, **change)
            if change is not None:
                kept.extend(change if isinstance(change, tuple) else (change,))
        return tuple(kept)

    other = dataclasses.replace(gateway, policies=applied(gateway.policies), upstream=applied(gateway.upstream))
    if unused:
        raise ValueError(f"the gateway has no {', '.join(sorted(unused))}")
    return other
