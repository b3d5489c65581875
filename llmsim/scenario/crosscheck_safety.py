"""Policies of cost, safety and structured output that would have no effect where they stand, or another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmsim.errors import Problem
from llmsim.scenario.crosscheck import PolicyEntry, policy_entries
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import nearest

__all__ = ["safety_policies"]

#: Where a request is what its caller sent: not yet addressed, and not sent a second time.
_WHOLE_REQUESTS = {
    "cascade": "cascade chooses between upstreams, so it cannot be a policy of one of them",
    "runaway_guard": "runaway_guard counts the calls of sessions, and here it would count attempts",
}

#: What may send a request more than once.
_SENDS_AGAIN = ("fallback", "retry", "hedge", "cascade", "structured_output")


def safety_policies(document: Document) -> Iterator[Problem]:
    """All such problems."""
    section = document.get(("providers",))
    providers = [name for name in section if isinstance(name, str)] if isinstance(section, dict) else []
    for scope in ("policies", "upstream"):
        before: list[PolicyEntry] = []
        for entry in policy_entries(document, scope):
            path, kind, _, settings = entry
            if kind in _WHOLE_REQUESTS and scope == "upstream":
                yield document.problem(path, _WHOLE_REQUESTS[kind], "Move it to gateway.policies.", at_key=True)
            else:
                yield from _order(document, entry, before)
            yield from _unknown(document, entry, providers)
            yield from _idle(document, entry)
            priced = kind == "budget" or (kind == "runaway_guard" and settings.get("max_spend") is not None)
            if priced and not _prices(document, providers):
                message = f"{kind} has nothing to count: no provider has a price"
                hint = "Give one a profile, or price: {input: $0.15/Mtok, output: $0.60/Mtok}."
                yield document.problem(path, message, hint, at_key=True)
            if kind == "structured_output" and not any(route.get("expects") == "json" for route in _routes(document)):
                message = "structured_output has no effect: no route expects JSON"
                yield document.problem(path, message, "Add expects: json to a route, or remove it.", at_key=True)
            before.append(entry)


def _order(document: Document, entry: PolicyEntry, before: list[PolicyEntry]) -> Iterator[Problem]:
    path, kind, _, _ = entry
    for other in before:
        if other.kind in ("fallback", "route") and kind == "cascade":
            message = f"cascade has no effect: the {other.kind} before it names the upstream of every request"
        elif other.kind in _SENDS_AGAIN and kind == "runaway_guard":
            message = f"runaway_guard would count the attempts of the {other.kind} before it as calls of the session"
        elif (other.kind, kind) == ("max_tokens", "structured_output") and _more_than_one(other):
            message = "the max_tokens before it asks again for cut answers, and structured_output refuses them first"
        elif (other.kind, kind) == ("structured_output", "cache") and other.settings.get("explain") is False:
            message = "the structured_output before it asks the same again, and the cache would give the same answer"
        else:
            continue
        yield document.problem(path, message, f"Move it before the {other.kind}.", at_key=True)
        return


def _more_than_one(entry: PolicyEntry) -> bool:
    return entry.settings.get("max_attempts", 1) not in (1, "1")


def _idle(document: Document, entry: PolicyEntry) -> Iterator[Problem]:
    """Words that need another one beside them to have any effect."""
    path, kind, _, settings = entry
    once = settings.get("max_attempts", {"max_tokens": 1, "structured_output": 2}.get(kind)) == 1
    words: list[tuple[str, bool, str]] = []
    if kind == "max_tokens":
        fixed = settings.get("quantile") is None
        words = [(word, fixed, "quantile: 99%") for word in ("margin", "floor", "minimum_answers")]
        words.append(("grow", once, "max_attempts: 2"))
    elif kind == "structured_output":
        words = [("explain", once, "max_attempts: 2")]
    for word, idle, needs in words:
        if idle and word in settings and isinstance(document.get(path), dict):  # a spec from Python has all its words
            message = f"{word} has no effect without {needs.partition(':')[0]}"
            yield document.problem((*path, word), message, f"Write {needs}, or remove {word}.", at_key=True)


def _unknown(document: Document, entry: PolicyEntry, providers: list[str]) -> Iterator[Problem]:
    """Names that nothing has."""
    path, kind, _, settings = entry
    named: list[tuple[Path, Any]] = []
    if kind == "cascade":
        order = settings.get("order")
        named = [
            ((*path, "order", at), name) for at, name in enumerate(order if isinstance(order, list | tuple) else ())
        ]
    elif kind == "runaway_guard":
        named = [((*path, "degrade_to"), settings.get("degrade_to"))]
    for where, name in named:
        if isinstance(name, str) and providers and name not in providers:
            yield document.problem(where, f"there is no provider {name!r}", nearest(name, providers))
    routes = settings.get("routes")
    if kind == "max_tokens" and isinstance(routes, dict):
        known = [str(route.get("route", "default")) for route in _routes(document)]
        for name in routes:
            if str(name) not in known:
                hint = nearest(str(name), known)
                yield document.problem((*path, "routes", name), f"there is no route {name!r}", hint, at_key=True)


def _routes(document: Document) -> list[dict[str, Any]]:
    clients = document.get(("traffic", "clients", "named"))
    mixes = [client.get("mix") for client in clients if isinstance(client, dict)] if isinstance(clients, list) else []
    mixes.append(document.get(("traffic", "mix")) or [{}])
    return [route for mix in mixes if isinstance(mix, list) for route in mix if isinstance(route, dict)]


def _prices(document: Document, providers: list[str]) -> bool:
    settings = [document.get(("providers", name)) for name in providers]
    return any(not isinstance(one, dict) or one.get("price") or one.get("profile") for one in settings)
