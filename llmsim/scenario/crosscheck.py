"""What only several sections of a scenario together can tell.

Works on the document and not on the frozen scenario, so that these problems show at once with those that keep a
scenario from coming into being.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from llmsim.errors import Problem
from llmsim.gateway.registry import kind_of
from llmsim.scenario.cache_words import idle_cache_words
from llmsim.scenario.document import Document, Path
from llmsim.scenario.health_words import idle_health_words
from llmsim.scenario.idle_limits import idle_limits
from llmsim.scenario.idle_topics import idle_topics
from llmsim.scenario.keys import nearest
from llmsim.scenario.objectives import ObjectiveError, parse_objective
from llmsim.scenario.spec import Clock
from llmsim.units import DURATION, format_duration

__all__ = ["PolicyEntry", "crosscheck", "policy_entries"]

# Under these a path like gateway.replicas already means something else.
_GATEWAY_KEYS = ("policies", "upstream", "replicas", "balancer", "stream", "entry", "preset")


class PolicyEntry(NamedTuple):
    """One policy of a document, as far as it can be read."""

    path: Path  #: of its settings
    kind: str
    name: str  #: what it goes by in paths: its name, else its kind
    settings: dict[str, Any]


def crosscheck(document: Document, *, si: bool = False) -> list[Problem]:
    """All problems between sections.

    Parameters
    ----------
    document
        Whatever could be read; sections of the wrong shape are left to the schema.
    si
        Whether bare numbers stand for SI units.
    """
    return [
        *_whole_numbers(document),
        *_providers(document),
        *_styles(document),
        *_disconnects(document),
        *_policies(document),
        *idle_limits(document, (*policy_entries(document, "policies"), *policy_entries(document, "upstream"))),
        *idle_topics(document),
        *_faults(document, si=si),
        *_objectives(document, "slo"),
        *_objectives(document, "steady_state"),
        *_expected(document),
    ]


def policy_entries(document: Document, scope: str) -> Iterator[PolicyEntry]:
    """The policies of a scope, ``"policies"`` or ``"upstream"``, in order."""
    entries = document.get(("gateway", scope))
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        path: Path = ("gateway", scope, index)
        if isinstance(entry, str):
            yield PolicyEntry(path, entry, entry, {})
        elif isinstance(entry, dict) and len(entry) == 1:
            kind, settings = next(iter(entry.items()))
            settings = settings if isinstance(settings, dict) else {}
            name = settings.get("name")
            yield PolicyEntry((*path, kind), kind, name if isinstance(name, str) else kind, settings)
        elif dataclasses.is_dataclass(entry):  # from Python
            kind = str(getattr(entry, "kind", type(entry).__name__))
            yield PolicyEntry(path, kind, kind_of(entry), vars(entry))


def _whole_numbers(document: Document) -> Iterator[Problem]:
    for key in ("version", "seed"):
        if isinstance(document.get((key,)), bool):  # to Python, true is the number 1
            shown = str(document.get((key,))).lower()
            yield document.problem((key,), f"needs a whole number, not {shown}", f"Write {key}: 1.")


def _names(document: Document, section: str) -> list[str]:
    value = document.get((section,))
    return [name for name in value if isinstance(name, str)] if isinstance(value, dict) else []


def _providers(document: Document) -> Iterator[Problem]:
    if document.get(("providers",)) == {}:
        hint = "Add one: providers: {openai: {ttft: 450ms, inter_token: 12ms}}."
        yield document.problem(("providers",), "a scenario needs at least one provider", hint)
    for name in _names(document, "providers"):
        if name in ("", "cache"):
            hint = "Choose another name."
            yield document.problem(
                ("providers", name), f"{name!r} is what tables call answers without a provider", hint, at_key=True
            )
        settings = document.get(("providers", name))
        if isinstance(settings, dict):
            yield from _idle_words(document, name, settings)


def _idle_words(document: Document, name: str, settings: dict[str, Any]) -> Iterator[Problem]:
    """Words that need another one beside them to have any effect."""
    for word, needs, hint in (
        ("queue", ("concurrency", "serving"), "Give it slots, concurrency: 32, or remove queue."),
        ("quota_group", ("rate_limit",), "Give it rate_limit: {requests: 500/min}, the same for all of the group."),
        ("incident_group", ("congestion", "incidents"), "Give it congestion or incidents, or remove incident_group."),
    ):
        value = settings.get(word)
        limited = value.get("limit") if word == "queue" and isinstance(value, dict) else value
        if limited not in (None, "") and all(settings.get(other) is None for other in needs):
            message = f"{word} has no effect without {' or '.join(needs)}"
            yield document.problem(("providers", name, word), message, hint, at_key=True)


def _styles(document: Document) -> Iterator[Problem]:
    """Prompt styles that make no difference."""
    outputs = [document.get(("providers", name, "output")) for name in _names(document, "providers")]
    tables = [output.get("json_defects_by_style") for output in outputs if isinstance(output, dict)]
    known = sorted({str(style) for table in tables if isinstance(table, dict) for style in table})
    for where, route in _routes(document):
        style, path = route.get("prompt_style"), (*where, "prompt_style")
        if not isinstance(style, str) or not style:
            continue
        if route.get("expects") != "json":
            message = "prompt_style has no effect on a route that takes any answer"
            yield document.problem(path, message, "Add expects: json, or remove it.")
        elif style not in known:
            example = f"Write output: {{json_defects_by_style: {{{style}: {{prose: 5%}}}}}} at a provider."
            hint = nearest(style, known) if known else example
            yield document.problem(path, f"no provider knows the prompt style {style!r}", hint)


def _disconnects(document: Document) -> Iterator[Problem]:
    """Readers who would go away in the middle of answers that come whole."""
    if document.get(("gateway", "stream")) is not False:
        return
    for where, route in _routes(document):
        if route.get("disconnects") is not None:
            message = "disconnects has no effect where nothing is streamed: nobody is in the middle of an answer"
            yield document.problem((*where, "disconnects"), message, "Remove it, or stream: false.", at_key=True)


def _routes(document: Document) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The routes of all mixes, and where they stand."""
    clients: Path = ("traffic", "clients", "named")
    named = [(*clients, index, "mix") for index in range(len(_mappings(document.get(clients))))]
    for mix in (("traffic", "mix"), *named):
        for index, route in enumerate(_mappings(document.get(mix))):
            yield (*mix, index), route


def _policies(document: Document) -> Iterator[Problem]:
    providers = _names(document, "providers")
    for scope in ("policies", "upstream"):
        first: dict[str, Path] = {}
        for path, kind, name, settings in policy_entries(document, scope):
            if name in first:
                hint = f"Give one a name: {kind}: {{name: inner_{kind}, …}}."
                yield document.problem(path, f"two policies here are called {name!r}", hint, at_key=True)
            if name in _GATEWAY_KEYS:
                message = f"a policy cannot be called {name!r}: gateway.{name} is something else"
                yield document.problem((*path, "name"), message, "Choose another name.")
            first.setdefault(name, path)
            if kind in ("fallback", "route") and scope == "upstream":
                message = f"{kind} chooses between upstreams, so it cannot be a policy of one of them"
                yield document.problem(path, message, "Move it to gateway.policies.", at_key=True)
            yield from idle_health_words(document, path, kind, scope, settings, providers)
            if kind == "semantic_cache":
                yield from idle_cache_words(document, path, settings)
            if kind == "hedge" and scope == "upstream" and settings.get("to"):
                message = "behind one upstream there is no other to hedge to"
                yield document.problem((*path, "to"), message, "Move the hedge to gateway.policies.", at_key=True)
            yield from _named(document, path, kind, settings, providers)
    yield from _route(document)
    yield from _idle_policies(document)


def _named(
    document: Document, path: Path, kind: str, settings: dict[str, Any], providers: list[str]
) -> Iterator[Problem]:
    """The providers that a policy names."""
    for key in {"fallback": ("order",), "route": ("to",), "hedge": ("to",)}.get(kind, ()):
        yield from _order(document, (*path, key), settings.get(key), providers)
    for key in {"fallback": ("orders",), "route": ("groups",)}.get(kind, ()):
        lists = settings.get(key)
        pairs = (
            lists.items()
            if isinstance(lists, dict)
            else enumerate(lists or ())
            if isinstance(lists, list | tuple)
            else ()
        )
        for place, names in pairs:
            yield from _order(document, (*path, key, place), names, providers)
    for key in {"route": ("weights", "models")}.get(kind, ()):
        table = settings.get(key)
        for name in table if isinstance(table, dict) else ():
            if isinstance(name, str) and providers and name not in providers:
                message, hint = f"there is no provider {name!r}", nearest(name, providers)
                yield document.problem((*path, key, name), message, hint, at_key=True)


def _route(document: Document) -> Iterator[Problem]:
    """A route that has no effect, or whose books would be wrong."""
    addressed: str | None = None
    entries = list(policy_entries(document, "policies"))
    for position, (path, kind, _, settings) in enumerate(entries):
        if kind == "fallback":
            addressed = "fallback" if settings.get("order") else addressed
            if settings.get("mid_stream", "error") != "error" and document.get(("gateway", "stream")) is False:
                message = "mid_stream has no effect where nothing is streamed: an answer comes whole or fails"
                yield document.problem((*path, "mid_stream"), message, "Remove it, or stream: false.", at_key=True)
        if kind != "route":
            continue
        if any(entry.kind == "fallback" for entry in entries[position + 1 :]):
            message = "a route before a fallback does not see which upstream the fallback goes on to"
            yield document.problem(path, message, "Move it behind the fallback.", at_key=True)
        elif addressed is not None:
            message = "route has no effect: the order of the fallback before it names the upstream of every request"
            yield document.problem(
                path, message, "Leave order out: a fallback goes on to what route prefers.", at_key=True
            )
        addressed = "route"


def _idle_policies(document: Document) -> Iterator[Problem]:
    """Policies that do nothing where they stand."""
    for scope in ("policies", "upstream"):
        entries = [*policy_entries(document, scope)]
        for number, entry in enumerate(entries):
            inside = [one.kind for one in entries[number + 1 :]]
            if entry.kind == "hedge" and not entry.settings.get("to") and "single_flight" in inside:
                message = "a hedge outside of single_flight never gets a second call: it is identical to the first"
                yield document.problem(entry.path, message, "Move it below single_flight.", at_key=True)
    given = False
    for entry in (*policy_entries(document, "policies"), *policy_entries(document, "upstream")):
        if entry.kind == "deadline":
            limits = entry.settings.get("timeout", 30.0) is not None
            if not limits and not given:
                message = "without a timeout it keeps the deadline a request has, and here none has one"
                hint = "Add deadline: {timeout: 30s} to gateway.policies, above."
                yield document.problem((*entry.path, "timeout"), message, hint, at_key=True)
            given = given or limits


def _order(document: Document, path: Path, order: Any, providers: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(order if isinstance(order, list | tuple) else ()):
        if isinstance(name, str) and providers and name not in providers:
            yield document.problem((*path, index), f"there is no provider {name!r}", nearest(name, providers))


def _faults(document: Document, *, si: bool) -> Iterator[Problem]:
    providers = _names(document, "providers")
    end = _seconds(document.get(("clock", "duration"), Clock().duration), si=si)
    faults = document.get(("faults",))
    seen: dict[str, int] = {}
    for index in range(len(faults) if isinstance(faults, list) else 0):
        name, provider = document.get(("faults", index, "name")), document.get(("faults", index, "provider"))
        if isinstance(name, str):
            if name in seen:
                message = f"two faults are called {name!r}: faults[{seen[name]}] and this one"
                yield document.problem(("faults", index, "name"), message, "Rename one; reports go by the name.")
            seen.setdefault(name, index)
        if isinstance(provider, str) and providers and provider not in providers:
            yield document.problem(
                ("faults", index, "provider"), f"there is no provider {provider!r}", nearest(provider, providers)
            )
        yield from _without_effect(document, index, provider)
        start = _seconds(document.get(("faults", index, "at"), 0), si=si)
        if start is not None and end is not None and start >= end:
            message = f"this fault starts at {format_duration(start)}, when the run of {format_duration(end)} is over"
            hint = f"Choose an earlier at:, or a clock: {{duration: …}} above {format_duration(start)}."
            yield document.problem(("faults", index, "at"), message, hint)


def _without_effect(document: Document, index: int, provider: Any) -> Iterator[Problem]:
    """Multipliers of what the provider does not have. (A capacity of 0x stops any provider.)"""
    settings = document.get(("providers", provider)) if isinstance(provider, str) else None
    if not isinstance(settings, dict):
        return
    for effect, needs, example in (
        ("capacity", "concurrency", "concurrency: 32"),
        ("rate_limit", "rate_limit", "rate_limit: {requests: 500/min}"),
        ("price", "price", "price: {input: $3/Mtok, output: $15/Mtok}"),
    ):
        multiplier = document.get(("faults", index, effect, "multiplier"))
        nothing = effect == "capacity" and multiplier in (0, "0x", "0")
        has = settings.get(needs) is not None or (effect == "capacity" and settings.get("serving") is not None)
        if multiplier is not None and not has and not nothing:
            message = f"provider {provider!r} has no {needs} for this fault to change"
            yield document.problem(("faults", index, effect), message, f"Give it {example}.", at_key=True)
        elif multiplier is not None and not has:
            for ramp in [word for word in ("ramp_up", "ramp_down") if document.get(("faults", index, word))]:
                message = f"provider {provider!r} has no {needs} of which there could be less and less"
                yield document.problem(("faults", index, ramp), message, f"Give it {example}.", at_key=True)
    drift = document.get(("faults", index, "drift"))
    if isinstance(drift, dict):
        yield from _idle_drift(document, index, str(provider), drift, settings)


def _idle_drift(
    document: Document, index: int, provider: str, drift: dict[str, Any], settings: dict[str, Any]
) -> Iterator[Problem]:
    """Drift multiplies: what a provider never does, it does not do more often."""
    path: Path = ("faults", index, "drift")
    if "ttft" in drift and settings.get("serving") is not None:
        message = f"the times of provider {provider!r} are those of its serving engine's steps"
        yield document.problem((*path, "ttft"), message, "Write latency: 1.5x instead.", at_key=True)
    output = settings.get("output")
    if output is not None and not isinstance(output, dict):
        return
    own = output or {}
    for word, needs, example in (
        ("refusals", ("refusals",), "output: {refusals: 1%}"),
        ("json_defects", ("json_defects", "json_defects_by_style"), "output: {json_defects: {prose: 5%}}"),
    ):
        if word in drift and not any(own.get(key) for key in needs):
            message = f"provider {provider!r} has no {word} for this drift to multiply"
            yield document.problem((*path, word), message, f"Give it {example}.", at_key=True)


def _seconds(value: Any, *, si: bool) -> float | None:
    try:
        return DURATION.parse(value, si=si or isinstance(value, float))
    except ValueError:
        return None  # the schema says so


def _objectives(document: Document, section: str) -> Iterator[Problem]:
    mapping = document.get((section,))
    if not isinstance(mapping, dict):
        return
    clients = _mappings(document.get(("traffic", "clients", "named")))
    mixes = [document.get(("traffic", "mix")) or [{}], *(client.get("mix") for client in clients)]
    routes = [route for mix in mixes for route in _mappings(mix)]
    tag_values = {
        "route": [str(route.get("route", "default")) for route in routes],
        "provider": _names(document, "providers"),
        "tenant": sorted({str(one["tenant"]) for one in (*routes, *clients) if one.get("tenant")}),
    }
    faults = [str(fault["name"]) for fault in _mappings(document.get(("faults",))) if "name" in fault]
    for key, expressions in mapping.items():
        path: Path = (section, key)
        for index, text in enumerate(expressions if isinstance(expressions, list | tuple) else ()):
            try:
                if not isinstance(text, str):
                    continue
                objective = parse_objective(key, text, tag_values=tag_values, fault_names=faults)
            except ObjectiveError as error:
                at = path if error.in_key else (*path, index)
                yield document.problem(at, error.message, error.hint, at_key=error.in_key)
                if error.in_key:
                    break  # wrong once, however many expressions it has
                continue
            more = objective.phase or objective.window_s or objective.burn or objective.abort_on_fail
            if section == "steady_state" and more:
                message = "the steady state is looked at in windows of 10 s, before and after faults"
                yield document.problem((*path, index), message, "Write the bound alone, or move the line to slo:.")
            if objective.metric == "recovery_time":
                yield from _recovery_time(document, section, path)
                break


def _expected(document: Document) -> Iterator[Problem]:
    expected, slo = document.get(("expect", "fail")), document.get(("slo",))
    known = list(slo) if isinstance(slo, dict) else []
    for index, key in enumerate(expected if isinstance(expected, list | tuple) else ()):
        if isinstance(key, str) and key not in known:
            message = f"slo has no {key!r} that could fail"
            yield document.problem(("expect", "fail", index), message, nearest(key, known))


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _recovery_time(document: Document, section: str, path: Path) -> Iterator[Problem]:
    if section == "steady_state":
        message = "recovery_time is measured against the steady state, so it cannot define it"
        yield document.problem(path, message, "Move it to slo:.", at_key=True)
    elif not document.get(("steady_state",)):
        hint = 'Add steady_state: {error_rate: ["value < 0.5%"]}.'
        yield document.problem(path, "recovery_time needs to know what recovered means", hint, at_key=True)
