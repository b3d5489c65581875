"""What must be there before a run of real prompts begins: their vectors."""

from __future__ import annotations

from collections.abc import Callable

from llmsim.scenario.spec import Scenario
from llmsim.stores.prompts import PromptVectors, prompt_vectors
from llmsim.traffic.prompts import prompt_log

__all__ = ["needs_vectors", "vectors_of"]


def needs_vectors(scenario: Scenario) -> bool:
    """Whether prompts may be compared: there are some, and a policy that may open a store for it.

    Of a policy or gateway of one's own it is not known; it may.
    """
    topics, gateway = scenario.traffic.topics, scenario.gateway
    if topics is None or topics.prompts is None:
        return False
    policies = (*gateway.policies, *gateway.upstream)
    return gateway.entry is not None or any(
        getattr(policy, "backend", "exact") != "exact" or not type(policy).__module__.startswith("llmsim.")
        for policy in policies
    )


def vectors_of(scenario: Scenario, progress: Callable[[int, int], object] | None = None) -> PromptVectors | None:
    """The vectors that a run of the scenario compares; made, or read from disk, once a process. None: it needs none.

    Raises
    ------
    LlmsimError
        If they cannot be made; says what to install.
    """
    topics = scenario.traffic.topics
    if topics is None or topics.prompts is None or not needs_vectors(scenario):
        return None
    return prompt_vectors(prompt_log(topics.prompts).texts, progress)
