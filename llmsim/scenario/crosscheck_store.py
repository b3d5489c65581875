"""The ``store:`` section and faults of stores, against the caches that have such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmsim.errors import Problem
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.crosscheck import PolicyEntry, policy_entries
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import nearest

__all__ = ["store_words"]

#: What only matters where vectors are searched.
_OF_VECTORS = (
    "embedding", "lookup", "lookup_by_size", "write", "loss", "vector_bytes", "entry_bytes", "token_bytes",
)  # fmt: skip


def store_words(document: Document) -> Iterator[Problem]:
    """All such problems."""
    if _own_code(document):
        return  # a policy of one's own may open any store
    entries = [*policy_entries(document, "policies"), *policy_entries(document, "upstream")]
    stores = {entry.name: entry for entry in entries if entry.kind == "semantic_cache"}
    section = document.get(("store",))
    if isinstance(section, dict) and section:
        yield from _section(document, section, list(stores.values()))
    yield from _unverified(document, section, list(stores.values()))
    yield from _faults(document, stores, {entry.name: entry.kind for entry in entries})


def _own_code(document: Document) -> bool:
    """Whether part of the gateway is somebody's own, which may do anything."""
    kinds = policy_kinds()
    given = [document.get(("gateway", scope)) for scope in ("policies", "upstream")]
    listed = [entry for entries in given if isinstance(entries, list | tuple) for entry in entries]
    for entry in listed:
        name = entry if isinstance(entry, str) else next(iter(entry), None) if isinstance(entry, dict) else None
        cls = kinds.get(str(name)) if name is not None else type(entry)
        if cls is not None and not cls.__module__.startswith("llmsim.gateway.policies."):
            return True
    return document.get(("gateway", "entry")) is not None


def _section(document: Document, section: dict[str, Any], stores: list[PolicyEntry]) -> Iterator[Problem]:
    if not stores:
        hint = "Add - semantic_cache: {threshold: 0.92} to gateway.policies, or remove it."
        yield document.problem(("store",), "store has no effect: no policy keeps its answers in one", hint, at_key=True)
        return
    if all(entry.settings.get("backend") == "exact" for entry in stores):
        for word in _OF_VECTORS:
            if word in section:
                message = f"{word} has no effect: with backend exact nothing is embedded or searched"
                hint = "Write backend: memory or redis, or remove it."
                yield document.problem(("store", word), message, hint, at_key=True)
    fails = section.get("failures") not in (None, 0, "0", "0%") or _store_faults(document)
    if "connect" in section and not fails:
        message = "connect has no effect: it is the time of operations that fail, and none does"
        hint = "Add failures: 0.1% or a fault with store: semantic_cache, or remove it."
        yield document.problem(("store", "connect"), message, hint, at_key=True)
    if section.get("judge") is not None and all(entry.settings.get("verify_below") is None for entry in stores):
        message = "judge has no effect: no cache has an uncertainty band"
        hint = "Add verify_below: 0.97 to the semantic_cache, or remove it."
        yield document.problem(("store", "judge"), message, hint, at_key=True)


def _unverified(document: Document, section: Any, stores: list[PolicyEntry]) -> Iterator[Problem]:
    judged = isinstance(section, dict) and section.get("judge") is not None
    for entry in stores:
        band = entry.settings.get("verify_below") is not None and entry.settings.get("backend") != "exact"
        if band and not judged and entry.settings.get("verifier") is None:
            message = "verify_below needs a verifier, and the scenario has none"
            hint = "Add store: {judge: {accept_right: 95%, accept_wrong: 10%, latency: 600ms, price: $0.0002}}."
            yield document.problem((*entry.path, "verify_below"), message, hint, at_key=True)


def _store_faults(document: Document) -> list[tuple[int, str]]:
    faults = document.get(("faults",))
    named = [(n, document.get(("faults", n, "store"))) for n in range(len(faults) if isinstance(faults, list) else 0)]
    return [(index, name) for index, name in named if isinstance(name, str) and name]


def _faults(document: Document, stores: dict[str, PolicyEntry], kinds: dict[str, str]) -> Iterator[Problem]:
    for index, name in _store_faults(document):
        path: Path = ("faults", index, "store")
        if name in stores:
            yield from _without_effect(document, index, stores[name].settings)
        elif kinds.get(name) == "cache":
            message = f"{name!r} keeps its answers in the gateway itself: it has no store that could fail"
            yield document.problem(path, message, "Use semantic_cache: {backend: exact} or redis.")
        else:
            hint = nearest(name, stores) if stores else "Add - semantic_cache: {threshold: 0.92} to gateway.policies."
            yield document.problem(path, f"there is no store {name!r}", hint)


def _without_effect(document: Document, index: int, settings: dict[str, Any]) -> Iterator[Problem]:
    """A multiplier of times that are none."""
    own = isinstance(section := document.get(("store",)), dict) and "round_trip" in section
    if settings.get("backend") == "exact" and document.get(("faults", index, "latency")) is not None and not own:
        message = "latency has no effect: a store with backend exact takes no time"
        yield document.problem(("faults", index, "latency"), message, "Write delay: {time: 50ms}.", at_key=True)
