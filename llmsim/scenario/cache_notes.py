"""What is worth knowing of a scenario's semantic caches before a run: in ``llmsim check`` and before ``llmsim run``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmsim.scenario.spec import Scenario

__all__ = ["cache_notes"]

# Share of traps (negations, other names, numbers, scopes) whose cosine to the question that they resemble is at least
# so much: 300 pairs of fow-cache 0.1.0 (CC BY 4.0), all-MiniLM-L6-v2 (int8).
_THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 1.0)
_TRAPPED = (0.507, 0.393, 0.277, 0.117, 0.0)


def cache_notes(scenario: Scenario) -> Iterator[str]:
    """Notes, one a cache and matter. None of them is a mistake for certain."""
    topics = scenario.traffic.topics
    traps = 0.0 if topics is None else float(getattr(topics.traps, "share", topics.traps))
    unpriced = False
    for policy in scenario.gateway.policies:
        if getattr(policy, "kind", "") != "semantic_cache" or policy.backend == "exact":
            continue
        unpriced = unpriced or not scenario.costs.embeddings.price
        if traps and getattr(policy, "verify_below", None) is None:
            thresholds = [policy.threshold, *getattr(policy, "thresholds", {}).values()]
            low = min(thresholds)
            trapped = float(np.interp(low, _THRESHOLDS, _TRAPPED))
            if trapped * traps >= 0.001:  # less is lost among the other wrong answers
                most = trapped * traps
                yield (
                    f"at a threshold of {low:g} about {trapped:.0%} of the traps are near enough to be answered "
                    f"wrongly, up to {most:.2%} of requests; verify_below asks a verifier"
                )
    if unpriced:
        yield "embeddings have no price: cost and saved_net leave them out; costs: {embeddings: {price: $0.02/Mtok}}"
