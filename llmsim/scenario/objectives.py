"""SLO lines: what ``ttft{route:chat}: ["p(95) < 2s"]`` says, as a value.

The grammar is k6's, with units: a key ``metric{tag:value,tag:value}`` and expressions ``aggregate comparison bound``,
after which may stand ``before``, ``during`` or ``after`` a fault (by its name, or ``fault`` for all), ``window 10s``
(the bound holds in every window of that length) and ``abort_on_fail`` (nothing else is run once it is broken).
`METRICS` is the one table of what can be bounded, by which aggregates, in which unit. What a metric *is* stands in
`llmsim.telemetry.metrics`; here stands only how it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, NamedTuple

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.objective_parts import ObjectiveError, parse_burn, parse_part
from llmsim.telemetry.parts import Burn, Phase
from llmsim.units import COUNT, DURATION, MULTIPLIER, RATE, RATIO, USD, Unit

if TYPE_CHECKING:
    from llmsim.scenario.spec import Scenario

__all__ = [
    "MEASURE_TAGS",
    "METRICS",
    "Measure",
    "Objective",
    "ObjectiveError",
    "objectives_of",
    "parse_objective",
    "parse_objectives",
    "rehearsed",
]

_CALM_S = 30.0  # three windows of those that recovery looks at

Comparison = Literal["<", "<=", ">", ">="]

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda measured, bound: measured < bound,
    "<=": lambda measured, bound: measured <= bound,
    ">": lambda measured, bound: measured > bound,
    ">=": lambda measured, bound: measured >= bound,
}


class Measure(NamedTuple):
    """One row of `METRICS`: how a metric may be bounded."""

    unit: Unit
    aggregates: tuple[str, ...]  #: ``p`` stands for any ``p(N)``
    tagged: bool  #: whether ``{route:…}`` and the like select a part of it
    meaning: str


_TREND = ("p", "mean", "med", "min", "max")
_VALUE = ("value",)
_SHARE = ("value", "rate")  # k6 calls the value of a share its rate

#: What an objective can be about. Trends are over requests, values over the whole measured part of a run.
METRICS: dict[str, Measure] = {
    "ttft": Measure(
        DURATION, _TREND, True, "request start to first chunk; a failed or abandoned request counts as +inf"
    ),
    "ttft_ok": Measure(DURATION, _TREND, True, "the same over successes only"),
    "ttft_upstream": Measure(DURATION, _TREND, True, "ttft without answers from a cache; failures count as +inf"),
    "e2e": Measure(DURATION, _TREND, True, "request start to last chunk; a failed or abandoned request counts as +inf"),
    "tpot": Measure(DURATION, _TREND, True, "time per output token after the first; failures count as +inf"),
    "max_inter_token": Measure(
        DURATION, _TREND, True, "longest gap between two tokens of an answer; failures count as +inf"
    ),
    "error_rate": Measure(
        RATIO, (*_SHARE, "burn"), True, "failures (abandoned and unfinished requests too) / requests"
    ),
    "abandoned_rate": Measure(RATIO, _SHARE, True, "requests whose user left / requests"),
    "fallback_rate": Measure(RATIO, _SHARE, True, "answered by other than their first choice / went upstream"),
    "fallback_activations": Measure(COUNT, _VALUE, True, "times a fallback was entered"),
    "cache_hit_rate": Measure(RATIO, _SHARE, True, "answered from the cache / requests"),
    "exact_hit_rate": Measure(RATIO, _SHARE, True, "of these, to the very same question / requests"),
    "semantic_hit_rate": Measure(RATIO, _SHARE, True, "of these, to one in other words / requests"),
    "false_hit_rate": Measure(RATIO, _SHARE, True, "wrong answers from the cache / requests"),
    "false_hits_per_hit": Measure(RATIO, _SHARE, True, "wrong answers from the cache / answers from it"),
    "outdated_rate": Measure(RATIO, _SHARE, True, "of the wrong ones, those that were right once / requests"),
    "retry_amplification": Measure(
        MULTIPLIER, ("value", "max"), False, "attempts / requests sent upstream; max: in the worst window of 10 s"
    ),
    "recovery_time": Measure(DURATION, _VALUE, False, "end of the last fault to steady state; never is +inf"),
    "goodput": Measure(RATE, ("value", "rate"), True, "successful requests per second"),
    "cost": Measure(USD, _VALUE, True, "billed for everything, wasted work included"),
    "cost_per_ok": Measure(USD, _VALUE, True, "the same per successful request"),
    "saved": Measure(USD, _VALUE, True, "what answers from the cache would have cost"),
    "saved_net": Measure(USD, _VALUE, True, "the same less what the cache itself cost"),
    "requests": Measure(COUNT, _VALUE, True, "requests that arrived"),
    "max_steps_per_session": Measure(
        COUNT, ("value", "max"), True, "most turns of one conversation, or calls of one agent"
    ),
    "max_spend_per_user": Measure(USD, ("value", "max"), True, "most billed for one user of one tenant"),
    "max_spend_per_session": Measure(USD, ("value", "max"), True, "most billed for one conversation or agent"),
    "max_in_flight": Measure(COUNT, ("value", "max"), False, "most requests in the gateway at once"),
    "cross_scope_hits": Measure(
        COUNT, _VALUE, True, "answers from the cache made for somebody they may not be shared with"
    ),
    "cross_tenant_hits": Measure(COUNT, _VALUE, True, "those made for another tenant, whatever the cache's scope says"),
    "leaked_streams": Measure(COUNT, _VALUE, True, "responses neither read nor closed by the policies"),
    "duplicated_tokens": Measure(
        COUNT, _VALUE, True, "tokens the caller had of an attempt that then failed and was retried"
    ),
    "non_retryable_retries": Measure(COUNT, _VALUE, True, "retries after an error that retrying cannot cure"),
    "retry_after_ignored": Measure(COUNT, _VALUE, True, "attempts sent before the Retry-After of the last was over"),
    "max_retries_at_once": Measure(COUNT, ("value", "max"), True, "most retries that one upstream got within 10 ms"),
    "max_upstream_in_flight": Measure(COUNT, ("value", "max"), True, "most calls under way at one upstream at once"),
    "sleep_after_last_attempt": Measure(
        DURATION, _TREND, True, "for failures: time between the last attempt's end and the error"
    ),
}

#: Tags that select requests. ``provider`` is who answered, or the first choice where nobody did; of the two metrics
#: that count calls at an upstream, that upstream.
MEASURE_TAGS: tuple[str, ...] = ("route", "provider", "tenant")


@dataclass(frozen=True)
class Objective:
    """One SLO line.

    Parameters
    ----------
    metric
        A key of `METRICS`.
    tags
        Pairs that select requests, sorted; empty for all.
    aggregate
        ``p``, ``mean``, ``med``, ``min``, ``max``, ``rate``, ``value`` or ``burn``.
    percentile
        In (0, 100) where `aggregate` is ``p`` (and 50 for ``med``), else None.
    comparison
        ``<``, ``<=``, ``>`` or ``>=``.
    bound
        In SI units or USD; ratios as 0 … 1.
    text, key
        The expression and its key as they were written.
    phase
        The part of the run it is about; None: all of it.
    window_s
        Length of the windows of which each must hold; None: the part as a whole.
    burn
        For ``burn``: what is promised, and the two windows.
    abort_on_fail
        Whether nothing else need be run once it has failed.
    line
        Where the expression stands in its file, from 1.

    Examples
    --------
    >>> objective = parse_objective("ttft{route:chat}", "p(95) < 2s")
    >>> objective.metric, objective.tags, objective.percentile, objective.bound
    ('ttft', (('route', 'chat'),), 95.0, 2.0)
    >>> objective.holds(1.9), objective.holds(float("inf"))
    (True, False)
    """

    metric: str
    tags: tuple[tuple[str, str], ...]
    aggregate: str
    percentile: float | None
    comparison: Comparison
    bound: float
    text: str
    key: str
    line: int | None = None
    phase: Phase | None = None
    window_s: float | None = None
    abort_on_fail: bool = False
    burn: Burn | None = None

    @property
    def low_is_good(self) -> bool:
        """Whether it bounds from above."""
        return self.comparison in ("<", "<=")

    def holds(self, measured: float) -> bool:
        """Whether a measured value is inside the bound; NaN (nothing to measure) is not."""
        return _COMPARE[self.comparison](measured, self.bound)


def parse_objectives(
    mapping: Mapping[str, Sequence[str]],
    lines: Mapping[tuple[str, int], int] | None = None,
    *,
    tag_values: Mapping[str, Iterable[str]] | None = None,
) -> list[Objective]:
    """All lines of a ``slo:`` or ``steady_state:`` section.

    Parameters
    ----------
    mapping
        Key to expressions.
    lines
        Line of each (key, position of the expression) in the file.
    tag_values
        What a tag can be, ``{"route": ["chat", …]}``; a tag that is not in it can be anything.

    Raises
    ------
    ScenarioError
        With every problem there is.

    Examples
    --------
    >>> [o.text for o in parse_objectives({"error_rate": ["value < 1%"], "e2e": ["mean < 3s", "max <= 30s"]})]
    ['value < 1%', 'mean < 3s', 'max <= 30s']
    """
    objectives: list[Objective] = []
    problems: list[Problem] = []
    for key, expressions in mapping.items():
        for index, text in enumerate(expressions):
            line = (lines or {}).get((key, index))
            try:
                objectives.append(parse_objective(key, text, line, tag_values=tag_values))
            except ObjectiveError as error:
                problems.append(Problem(error.message, f"slo.{key}", line, None, error.hint))
                if error.in_key:
                    break  # it is wrong once, however many expressions it has
    if problems:
        raise ScenarioError(problems)
    return objectives


def objectives_of(scenario: Scenario, section: Literal["slo", "steady_state"] = "slo") -> list[Objective]:
    """The objectives of a scenario, with their lines where it was read from a file and still says so."""
    mapping: dict[str, tuple[str, ...]] = getattr(scenario, section)
    lines: dict[tuple[str, int], int] = {}
    document = scenario.source
    for key, expressions in mapping.items() if document is not None else ():
        for index, text in enumerate(expressions):
            line = document.line((section, key, index))
            if line is not None and document.get((section, key, index)) == text:
                lines[key, index] = line
    return parse_objectives(mapping, lines)


def rehearsed(scenario: Scenario) -> list[Objective]:
    """What a run is judged by: its SLOs, and that it was in its steady state before the first fault.

    A service that is not well to begin with cannot show what a fault does to it. That is asked where there are SLOs,
    a steady state and at least 30 s of measured time before the first fault.
    """
    lines = objectives_of(scenario)
    first_s = min((fault.at for fault in scenario.faults), default=0.0)
    if not lines or first_s < _CALM_S:
        return lines
    before = [
        replace(line, phase=Phase("before"), text=f"{line.text} before fault", key=f"steady_state {line.key}")
        for line in objectives_of(scenario, "steady_state")
    ]
    return [*lines, *before]


def parse_objective(
    key: str,
    text: str,
    line: int | None = None,
    *,
    tag_values: Mapping[str, Iterable[str]] | None = None,
    fault_names: Iterable[str] | None = None,
) -> Objective:
    """One SLO line.

    Raises
    ------
    ObjectiveError
        With the right form.
    """
    metric, tags = _parse_key(key, tag_values or {})
    measure = METRICS[metric]
    found = re.fullmatch(r"\s*([^<>=!\s()]+)\s*(?:\(([^()]*)\))?\s*([<>=!]+)\s*(\S.*?)\s*", text)
    if found is None:
        raise ObjectiveError(f"{text!r} is not aggregate, comparison and bound", _form(metric))
    name, argument, comparison, rest = found.groups()
    part = parse_part(metric, text, rest, fault_names)
    burn = parse_burn(argument, window=part.window_s is not None) if name == "burn" == measure.aggregates[-1] else None
    aggregate, percentile = ("burn", None) if burn else _parse_aggregate(metric, name, argument)
    unit = MULTIPLIER if burn else measure.unit
    if comparison not in _COMPARE:
        raise ObjectiveError(f"{comparison!r} in {text!r} is no comparison", "Use <, <=, > or >=.")
    try:
        bound = float(unit.parse(part.bound))
    except ValueError as error:
        wrong = str(error).partition("; ")[0]
        raise ObjectiveError(f"the bound of {text!r}: {wrong}", _form(metric)) from None
    about = (part.phase, part.window_s, part.abort_on_fail, burn)
    return Objective(metric, tags, aggregate, percentile, comparison, bound, text, key, line, *about)  # type: ignore[arg-type]


def _form(metric: str) -> str:
    """``Write it like "p(95) < 250ms" (p(N), mean, …).``"""
    measure = METRICS[metric]
    spelled = ["p(N)" if name == "p" else name for name in measure.aggregates]
    first = "p(95)" if measure.aggregates[0] == "p" else measure.aggregates[0]
    comparison = ">" if metric in ("goodput", "cache_hit_rate", "requests") else "<"
    return f'Write it like "{first} {comparison} {measure.unit.examples[0]}"; {metric} takes {", ".join(spelled)}.'


def _parse_key(key: str, tag_values: Mapping[str, Iterable[str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    found = re.fullmatch(r"\s*([^{}\s]+)\s*(?:\{([^{}]*)\})?\s*", key)
    if found is None:
        raise ObjectiveError(f"{key!r} is not a metric with tags", 'Write it like "ttft{route:chat}".', in_key=True)
    metric, inner = found.groups()
    if metric not in METRICS:
        # ttft_s is the column, ttft the SLO word: the bound carries the unit.
        near = get_close_matches(metric.removesuffix("_s").removesuffix("_usd"), METRICS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known metrics: {', '.join(METRICS)}."
        raise ObjectiveError(f"unknown metric {metric!r}", hint, in_key=True)
    if inner is None:
        return metric, ()
    if not METRICS[metric].tagged:
        raise ObjectiveError(
            f"{metric} is about the whole gateway and takes no tags", f"Write {metric!r}.", in_key=True
        )
    tags = [_parse_tag(key, part, tag_values) for part in inner.split(",")]
    names = [name for name, _ in tags]
    if len(set(names)) < len(names):
        raise ObjectiveError(f"a tag stands twice in {key!r}", "Write one key for each value.", in_key=True)
    return metric, tuple(sorted(tags))


def _parse_tag(key: str, part: str, tag_values: Mapping[str, Iterable[str]]) -> tuple[str, str]:
    name, colon, value = (piece.strip() for piece in part.partition(":"))
    if not colon or not name or not value:
        raise ObjectiveError(f"{part.strip()!r} in {key!r} is no tag", 'Write it like "ttft{route:chat}".', in_key=True)
    if name not in MEASURE_TAGS:
        near = get_close_matches(name, MEASURE_TAGS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known tags: {', '.join(MEASURE_TAGS)}."
        raise ObjectiveError(f"unknown tag {name!r} in {key!r}", hint, in_key=True)
    known = list(tag_values.get(name, (value,)))
    if value not in known:
        near = get_close_matches(value, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
        raise ObjectiveError(f"there is no {name} {value!r}", hint, in_key=True)
    return name, value


def _parse_aggregate(metric: str, name: str, argument: str | None) -> tuple[str, float | None]:
    allowed = METRICS[metric].aggregates
    compact = re.fullmatch(r"p(\d+(?:\.\d+)?)", name)
    if compact and argument is None and "p" in allowed:
        raise ObjectiveError(f"{name!r} is no aggregate", f"Write p({compact[1]}).")
    if name not in allowed:
        raise ObjectiveError(f"{metric} has no {name!r}", _form(metric))
    if name != "p":
        if argument is not None:
            raise ObjectiveError(f"{name} takes nothing in parentheses", f"Write {name}.")
        return name, 50.0 if name == "med" else None
    try:
        percentile = float(argument or "")
    except ValueError:
        raise ObjectiveError(f"p({argument or ''}) needs a number between 0 and 100", "Write p(95).") from None
    if not 0 < percentile < 100:
        hint = "Write max." if percentile == 100 else "Write it like p(95) or p(99.9)."
        raise ObjectiveError(f"p({argument}) is out of range: a percentile is above 0 and below 100", hint)
    return "p", percentile
