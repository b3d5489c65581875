"""Words of a semantic cache that would have no effect, given the others and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmsim.errors import Problem
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import nearest

__all__ = ["idle_cache_words"]

#: Of no use to a cache that compares no meanings.
_OF_MEANING = ("threshold", "thresholds", "verify_below", "verifier_timeout", "compare")
#: word: what it needs, what to write
_NEEDS = {
    "negative_on": ("negative_ttl", "negative_ttl: 1m"),
    "verifier_timeout": ("verify_below", "verify_below: 97%"),
}


def idle_cache_words(document: Document, path: Path, settings: dict[str, Any]) -> Iterator[Problem]:
    """Problems of one ``semantic_cache``.

    Parameters
    ----------
    path
        Of its settings.
    settings
        As written; from Python, all fields.
    """
    spec = policy_kinds()["semantic_cache"]  # from Python it has all its words, most of them at their defaults
    given = {key: value for key, value in settings.items() if value != getattr(spec, str(key), None)}
    exact = given.get("backend") == "exact"
    for word in _OF_MEANING if exact else ():
        if given.get(word):
            message = f"{word} has no effect with backend: exact, which compares no meanings"
            yield document.problem((*path, word), message, f"Remove {word}, or write backend: memory.", at_key=True)
    for word, (needs, example) in _NEEDS.items():
        if word in given and given.get(needs) is None and not (exact and word in _OF_MEANING):
            message = f"{word} has no effect without {needs}"
            yield document.problem((*path, word), message, f"Write {example}, or remove {word}.", at_key=True)
    owner = {"tenant": ("tenant",), "user": ("tenant", "user")}.get(str(given.get("scope", "tenant")), ())
    per = given.get("per")
    for index, field in enumerate(per if isinstance(per, list | tuple) else ()):
        if field in owner:
            message = f"the scope keeps each {field}'s answers apart already"
            yield document.problem((*path, "per", index), message, f"Remove {field}, or write scope: global.")
    yield from _routes(document, path, given)


def _routes(document: Document, path: Path, given: dict[str, Any]) -> Iterator[Problem]:
    routes = _mixed(document)
    known = sorted({str(route.get("route", "default")) for route in routes})
    thresholds = given.get("thresholds")
    for name in thresholds if isinstance(thresholds, dict) else ():
        if str(name) not in known:
            hint = nearest(str(name), known)
            yield document.problem((*path, "thresholds", name), f"there is no route {name!r}", hint, at_key=True)
    if given.get("json") is False and not any(route.get("expects") == "json" for route in routes):
        message = "json has no effect: no route expects JSON"
        yield document.problem((*path, "json"), message, "Add expects: json to a route, or remove it.", at_key=True)


def _mixed(document: Document) -> list[dict[str, Any]]:
    clients = document.get(("traffic", "clients", "named"))
    mixes = [client.get("mix") for client in clients if isinstance(client, dict)] if isinstance(clients, list) else []
    mixes.append(document.get(("traffic", "mix")) or [{}])
    return [route for mix in mixes if isinstance(mix, list) for route in mix if isinstance(route, dict)]
