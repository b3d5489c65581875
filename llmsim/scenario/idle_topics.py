"""Words about what people ask that would change nothing: beside each other, or under this gateway.

The first are problems. The second are notes: a scenario may be run without its cache, to see what that is worth.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmsim.errors import Problem
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.spec import Scenario

__all__ = ["idle_topics", "topic_notes"]

_TOPICS: Path = ("traffic", "topics")


def idle_topics(document: Document) -> Iterator[Problem]:
    """Problems of words that need another one beside them."""
    topics = document.get(_TOPICS)
    if not isinstance(topics, dict):
        return
    if topics.get("phrasings") is not None and _nothing(topics.get("paraphrases")):
        message = "phrasings has no effect where nobody asks in other words"
        yield document.problem((*_TOPICS, "phrasings"), message, "Write paraphrases: 30%, or remove it.", at_key=True)
    traps = topics.get("traps")
    if isinstance(traps, dict) and "kinds" in traps and _nothing(traps.get("share")):
        message = "kinds has no effect without traps"
        place = (*_TOPICS, "traps", "kinds")
        yield document.problem(place, message, "Write share: 3%, or remove it.", at_key=True)


def _nothing(share: object) -> bool:
    return share in (0, "0", "0%")


def topic_notes(scenario: Scenario) -> tuple[str, ...]:
    """What `traffic.topics` says that makes no difference under the scenario's gateway, in words."""
    topics, gateway = scenario.traffic.topics, scenario.gateway
    specs = (*gateway.policies, *gateway.upstream)
    known = policy_kinds()
    if topics is None or gateway.entry is not None:
        return ()
    kinds = {str(getattr(spec, "kind", "")) for spec in specs}
    if any(kind not in known or not known[kind].__module__.startswith("llmsim.") for kind in kinds):
        return ()  # code of the user's may keep answers
    notes = []
    if topics.answers_change is not None and not kinds & {"cache", "semantic_cache"}:
        notes.append("topics.answers_change has no effect: no policy keeps answers")
    if "semantic_cache" not in kinds:
        usual = type(topics)()
        words = [word for word in ("similarity", "meanings", "traps") if getattr(topics, word) != getattr(usual, word)]
        if words:
            listed = ", ".join(f"topics.{word}" for word in words)
            notes.append(f"{listed}: without a semantic_cache nothing depends on what is similar")
    return tuple(notes)
