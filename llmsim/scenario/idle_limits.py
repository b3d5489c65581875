"""Words of limits and queues that would change nothing, given who asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmsim.errors import Problem
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import nearest

__all__ = ["idle_limits"]

#: Fields of requests that routes and clients give, and what a route has that says nothing.
_GIVEN: dict[str, Any] = {"route": "default", "tenant": "", "feature": "", "priority": 0}
_PER = ("tenant", "route", "feature")
_PRIORITY = "Give routes of the mix a priority, as in {route: chat, priority: 10}, or write"


def idle_limits(document: Document, entries: Iterable[tuple[Path, str, str, dict[str, Any]]]) -> Iterator[Problem]:
    """Problems of policies that tell requests apart by what all of them share, or none of them has.

    Parameters
    ----------
    document
        Whatever could be read.
    entries
        Path, kind, name and settings of every policy.
    """
    policies = list(entries)
    if not all(_is_ours(kind) for _, kind, _, _ in policies) or _has_functions(document):
        return  # code of the user's may say who a request is from
    values = _values(document)
    for path, kind, _, settings in policies:
        if kind in ("rate_limit", "bulkhead", "fair_queue", "budget"):
            yield from _per(document, path, kind, settings, values)
        if kind == "semantic_cache":
            yield from _cache_per(document, path, settings, values)
        if kind == "waiting_room":
            yield from _waiting_room(document, path, settings, values)
        levels = settings.get("levels") if kind == "load_shedding" else None
        if isinstance(levels, list | tuple) and len(levels) > 1 and len(values["priority"]) < 2:
            message = "all requests have the same priority, so all of them are shed alike"
            yield document.problem((*path, "levels"), message, f"{_PRIORITY} one level.", at_key=True)


def _is_ours(kind: str) -> bool:
    cls = policy_kinds().get(kind)
    return cls is not None and cls.__module__.startswith("llmsim.")


def _has_functions(document: Document) -> bool:
    scopes = [document.get(("gateway", scope)) for scope in ("policies", "upstream")]
    entries = [entry for scope in scopes if isinstance(scope, list | tuple) for entry in scope]
    entries = [entry for entry in entries if not isinstance(entry, str | dict)]
    return any(not _is_ours(str(getattr(entry, "kind", ""))) for entry in entries)


def _values(document: Document) -> dict[str, set[Any]]:
    """What requests have, by field."""
    traffic: Path = ("traffic",)
    clients = _mappings(document.get((*traffic, "clients", "named")))
    mixes = [_mappings(document.get((*traffic, "mix"))) or [{}]]
    owners: list[dict[str, Any]] = [{}]
    for client in clients:
        mixes.append(_mappings(client.get("mix")) or mixes[0])
        owners.append({"tenant": client["tenant"]} if client.get("tenant") else {})
    if clients and not document.get((*traffic, "clients", "count")):  # nobody else is there to use the common mix
        mixes, owners = mixes[1:], owners[1:]
    routes = [{**_GIVEN, **route, **owner} for mix, owner in zip(mixes, owners, strict=True) for route in mix]
    return {field: {str(route[field]) for route in routes} for field in _GIVEN}


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _per(
    document: Document, path: Path, kind: str, settings: dict[str, Any], values: dict[str, set[Any]]
) -> Iterator[Problem]:
    per = settings.get("per", "tenant" if kind in ("bulkhead", "fair_queue") else None)
    if per not in _PER:
        return  # none, one that always differs, or a mistake that the schema tells
    if len(values[per]) < 2:
        one = " or ".join(word for word in _PER if len(values[word]) > 1) or "user"
        hint = f"Give the routes of the mix a {per}, or write per: {one}."
        at = (*path, "per") if "per" in settings else path
        yield document.problem(at, f"all requests have the same {per}, so {kind} has nobody to tell apart", hint)
        return
    weights = settings.get("weights")
    for name in weights if isinstance(weights, Mapping) else ():
        if str(name) not in values[per]:
            hint = nearest(str(name), sorted(values[per] - {""}))
            yield document.problem((*path, "weights", name), f"no request has the {per} {name!r}", hint, at_key=True)


def _cache_per(
    document: Document, path: Path, settings: dict[str, Any], values: dict[str, set[Any]]
) -> Iterator[Problem]:
    """Fields that answers are kept apart by, and that are the same for all."""
    per = settings.get("per")
    for index, field in enumerate(per if isinstance(per, list | tuple) else ()):
        ours = field == "tenant" and settings.get("scope", "tenant") != "global"  # no effect for another reason
        if field in _PER and len(values[field]) < 2 and not ours:
            message = f"all requests have the same {field}, so it keeps no answers apart"
            hint = f"Give the routes of the mix a {field}, or remove it."
            yield document.problem((*path, "per", index), message, hint)


def _waiting_room(
    document: Document, path: Path, settings: dict[str, Any], values: dict[str, set[Any]]
) -> Iterator[Problem]:
    known = (values["route"] | values["feature"]) - {""}
    patience = settings.get("patience")
    for name in patience if isinstance(patience, Mapping) else ():
        if str(name) not in known:
            message = f"no request has the route or feature {name!r}"
            hint = nearest(str(name), sorted(known))
            yield document.problem((*path, "patience", name), message, hint, at_key=True)
    if settings.get("order") == "priority" and len(values["priority"]) < 2:
        yield document.problem((*path, "order"), "all requests have the same priority", f"{_PRIORITY} order: fifo.")
