"""Words of the policies that leave upstreams alone which would have no effect where they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from llmsim.errors import Problem
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import nearest
from llmsim.units import MULTIPLIER, RATIO, Unit

__all__ = ["idle_health_words"]

#: kind: (word, what it needs, what to write)
_NEEDS = {
    "circuit_breaker": (
        ("slow_call_rate", ("slow_call",), "slow_call: 5s"),
        ("slow_call_by", ("slow_call",), "slow_call: 5s"),
        ("max_wait_in_open", ("wait_multiplier",), "wait_multiplier: 2x"),
    ),
    "outlier_ejection": (("minimum_calls", ("failure_rate", "success_rate_stdev"), "failure_rate: 85%"),),
}


def idle_health_words(
    document: Document, path: Path, kind: str, scope: str, settings: dict[str, Any], providers: list[str]
) -> Iterator[Problem]:
    """Problems of one policy, if it is a breaker, a cooldown or an outlier ejection.

    Parameters
    ----------
    path
        Of its settings.
    scope
        ``"policies"`` or ``"upstream"``.
    settings
        As written; from Python, all fields.
    providers
        Names of the upstreams.
    """
    if kind in ("cooldown", "outlier_ejection") and scope == "policies":
        message = f"{kind} leaves one upstream alone and not the others, so it stands in front of each"
        yield document.problem(path, message, "Move it to gateway.upstream.", at_key=True)
    spec = policy_kinds().get(kind)  # from Python a policy has all its words, most of them at their defaults
    given = {key: value for key, value in settings.items() if value != getattr(spec, str(key), None)}
    for word, needs, example in _NEEDS.get(kind, ()):
        if word in given and not any(given.get(other) is not None for other in needs):
            message = f"{word} has no effect without {' or '.join(needs)}"
            yield document.problem((*path, word), message, f"Add {example}, or remove it.", at_key=True)
    if kind == "circuit_breaker" and given.get("sliding_window_calls") is not None and "sliding_window" in given:
        message = "the window is sliding_window_calls long, so sliding_window has no effect"
        yield document.problem((*path, "sliding_window"), message, "Remove one of them.", at_key=True)
    if kind == "outlier_ejection" and providers and not document.get(("gateway", "preset")):  # that is for any number
        yield from _never_ejects(document, path, settings, len(providers))
    among = given.get("among")
    if kind == "cooldown" and providers and isinstance(among, list | tuple):
        for index, name in enumerate(among):
            if isinstance(name, str) and name not in providers:
                at = (*path, "among", index)
                yield document.problem(at, f"there is no provider {name!r}", nearest(name, providers))


def _never_ejects(document: Document, path: Path, settings: dict[str, Any], count: int) -> Iterator[Problem]:
    share = _number(RATIO, settings.get("max_ejection_percent", 0.5))
    one_in_any_case = settings.get("always_eject_one") is True
    if count == 1:
        message = "with one upstream nobody can be left out"
        yield document.problem(path, message, "Write circuit_breaker instead.", at_key=True)
    elif share is not None and share * count + 1e-9 < 1 and not one_in_any_case:
        message = f"{share:.4g} of {count} upstreams is less than one: nobody is ever left out"
        hint = f"Write max_ejection_percent: {math.ceil(100 / count)}%, or always_eject_one: true."
        yield document.problem((*path, "max_ejection_percent"), message, hint)
    elif share is not None and share * count + 1e-9 >= 1 and one_in_any_case:
        message = f"{share:.4g} of {count} upstreams is one at least, so always_eject_one has no effect"
        yield document.problem((*path, "always_eject_one"), message, "Remove it.", at_key=True)
    deviations, furthest = _number(MULTIPLIER, settings.get("success_rate_stdev")), math.sqrt(count - 1)
    if deviations is not None and count > 1 and deviations >= furthest:
        message = f"of {count} upstreams none can be more than {furthest:.3g} standard deviations below the mean"
        yield document.problem((*path, "success_rate_stdev"), message, "Write failure_rate: 85% instead.")


def _number(unit: Unit, value: Any) -> float | None:
    try:
        return None if value is None else unit.parse(value)
    except ValueError:
        return None  # the schema says so
