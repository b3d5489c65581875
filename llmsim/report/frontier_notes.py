"""What a scenario has that a pass over all thresholds at once leaves out: told beside its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.gateway.registry import kind_of
from llmsim.scenario.spec import Scenario
from llmsim.traffic.clients import mixes

__all__ = ["left_out"]


def left_out(scenario: Scenario, policy: SemanticCache) -> Iterator[str]:
    """Notes, one for each word of the scenario that full runs heed and the pass does not.

    Parameters
    ----------
    policy
        The scenario's semantic cache.
    """
    if policy.thresholds:
        routes = ", ".join(f"{route} {threshold:g}" for route, threshold in policy.thresholds.items())
        yield f"Routes with thresholds of their own keep them ({routes}); it is the others' that is varied."
    if policy.verify_below is not None:
        yield (
            f"The verifier (verify_below {policy.verify_below:g}) is left out: with it fewer hits, fewer wrong "
            "answers, its price and its delay. Judge those by full runs."
        )
    if policy.stale_while_revalidate is not None:
        yield "stale_while_revalidate is left out: with it more hits, older answers, and calls in the background."
    if policy.negative_ttl is not None:
        yield "negative_ttl is left out: a question that was refused before may be answered from the cache here."
    if len({route.max_tokens for route in mixes(scenario.traffic).routes}) > 1:
        yield "max_tokens is left out: an answer longer than the asker allows is a hit here, and a miss in a run."
    yield from _of_the_store(scenario, policy)


def _of_the_store(scenario: Scenario, policy: SemanticCache) -> Iterator[str]:
    """Trouble, of which the pass knows none."""
    store, name = scenario.store, kind_of(policy)
    trouble = [
        *(["store.failures"] if store.failures else []),
        *(["store.embedding.failures"] if store.embedding.failures else []),
        *(["store.loss"] if store.loss else []),
        *(f"the fault {fault.name!r}" for fault in scenario.faults if fault.store == name),
    ]
    if trouble:
        yield f"The store has no trouble here ({', '.join(trouble)} left out): with it fewer hits."
