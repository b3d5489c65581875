"""Ready spaces for the policies a scenario has, each with the reason for its values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llmsim.errors import LlmsimError, ScenarioError
from llmsim.scenario.keys import nearest
from llmsim.scenario.objectives import Objective
from llmsim.scenario.spec import Scenario
from llmsim.tuning.objective import Goal
from llmsim.units import DURATION

__all__ = ["RECIPES", "Ready", "Recipe", "check_bounded", "recipe"]

Range = tuple[Any, ...] | list[Any]

#: What policies are for that answer to failures and to load. Failures count as never, so whoever fails fast does not
#: win; and unlike the first token it shows answers that stall or are asked for again.
_TAIL = "e2e p(95)"
_CHEAP = "cost_per_ok"


class Recipe(NamedTuple):
    """One ready space."""

    name: str
    about: str  #: what it decides between
    source: str  #: whose defaults its ranges span
    needs: tuple[str, ...]  #: kinds of policies it is about
    #: Kind to what can be tuned there: key below the policy, and its values, in the unit in which they are told.
    space: dict[str, dict[str, Range]]
    #: Keys that are only tuned where the policy sets them: they turn something on.
    where_set: frozenset[str] = frozenset()
    minimize: str = _TAIL  #: where nobody says what is wanted
    #: Metrics of which one has to be bounded, or counted in the goal: without it more is always better.
    bounded: tuple[str, ...] = ()


class Ready(NamedTuple):
    """A recipe for one scenario."""

    space: dict[str, Range]
    about: str  #: what it decides between, and where its ranges come from
    minimize: str
    reason: str  #: why that, for whoever did not ask for anything


RECIPES: dict[str, Recipe] = {
    one.name: one
    for one in (
        Recipe(
            "backoff",
            "How often and how far apart to ask again. More attempts rescue more requests and load an upstream that is "
            "in trouble; jitter spreads what would come back in waves; a retry budget caps the storm.",
            "Ranges span the defaults of botocore (3 attempts; first sleep 50 ms, 1 s when throttled), openai-python "
            "and LiteLLM (500 ms), Polly (2 s), resilience4j (multiplier 1.5; elsewhere 2), gRPC (5 attempts at most), "
            "Envoy and Finagle (budget 20 %).",
            ("retry",),
            {
                "retry": {
                    "max_attempts": [1, 2, 3, 4, 5],
                    "backoff.initial": ("50ms", "4s", "log"),
                    "backoff.multiplier": (1.5, 4.0),
                    "backoff.jitter": ["none", "equal", "full"],
                    "budget": (0.05, 0.5),
                }
            },
            frozenset({"budget"}),
        ),
        Recipe(
            "cache-threshold",
            "How alike two questions must be to get one answer. Lower saves more and is wrong more often. Bound the "
            'wrong answers, --subject-to "false_hit_rate < 0.5%"; or say what one costs you in dollars, --minimize '
            '"cost_per_ok + 0.02*false_hit_rate". A hit then pays where it is wrong less often than what it saves '
            "divided by that price: if you know none, a hundred times what an answer costs stands for 1 % of the hits.",
            "Ranges span cosines of langchain-redis and khazad (.80), RedisVL (.90) and Mistral's example (.95), and "
            "go down to where a tenth of all answers was wrong (.70: banking77, MiniLM); ttl from Bifrost's 5 min up.",
            ("semantic_cache",),
            {"semantic_cache": {"threshold": (0.70, 0.99), "ttl": ("5m", "1440m", "log")}},
            frozenset({"ttl"}),
            _CHEAP,
            ("false_hit_rate", "false_hits_per_hit"),
        ),
        Recipe(
            "timeouts",
            "How long to wait before somebody else is asked. Short ones pay twice for answers that were under way; "
            "long ones let users wait for an upstream that is gone.",
            "Ranges go from a typical time to the first token (300 to 500 ms in fixie-ai/thefastest.ai, 2024) to "
            "several times its p99 (1.3 to 2.5 s); in total beyond stamina's 45 s. openai-python waits 600 s.",
            ("timeout", "deadline"),
            {
                "timeout": {
                    "ttft": ("0.3s", "15s", "log"),
                    "inter_token": ("0.5s", "10s", "log"),
                    "total": ("2s", "60s", "log"),
                },
                "deadline": {"timeout": ("5s", "60s", "log")},
            },
            frozenset({"ttft", "inter_token", "total"}),
        ),
        Recipe(
            "breaker",
            "When an upstream is given up, and for how long. Nervous breakers move load to the fallback for nothing; "
            "sluggish ones keep sending into a brown-out.",
            "Ranges span the defaults of Polly (10 %, 100 calls in 30 s, open 5 s), resilience4j (50 %, 100 calls, "
            "open 60 s, 10 in half-open) and LiteLLM (50 %, 5 calls, 5 s).",
            ("circuit_breaker",),
            {
                "circuit_breaker": {
                    "failure_rate": (0.1, 0.8),
                    "sliding_window": ("5s", "60s", "log"),
                    "minimum_calls": (5, 100, "log"),
                    "wait_in_open": ("2s", "60s", "log"),
                    "permitted_in_half_open": (1, 20, "log"),
                }
            },
        ),
        Recipe(
            "limits",
            "How much is let through at once. Tight limits turn work away that could have been done; loose ones let "
            "queues grow until nobody is served in time.",
            "Ranges span Netflix's concurrency-limits (20 to 200, Vegas to 1,000) and Envoy's 1,024.",
            ("concurrency_limit", "bulkhead", "adaptive_admission"),
            {
                "concurrency_limit": {"limit": (4, 1024, "log")},
                "bulkhead": {"at_once": (2, 256, "log")},
                "adaptive_admission": {"target": ("0.1s", "10s", "log"), "interval": ("1s", "30s", "log")},
            },
            frozenset({"limit"}),
        ),
    )
}


def recipe(name: str, scenario: Scenario) -> Ready:
    """What a recipe is in a scenario.

    Raises
    ------
    LlmsimError
        There is no such recipe, or the scenario has none of its policies.

    Examples
    --------
    >>> from llmsim.scenario.load import load_scenario
    >>> scenario = load_scenario(
    ...     {
    ...         "version": 1,
    ...         "traffic": {"base_rate": "4/s"},
    ...         "providers": {"a": {}},
    ...         "gateway": {"upstream": [{"timeout": {"ttft": "2s"}}]},
    ...     }
    ... )
    >>> found = recipe("timeouts", scenario)
    >>> found.space, found.minimize
    ({'upstream.timeout.ttft': ('0.3s', '15s', 'log')}, 'e2e p(95)')
    """
    if name not in RECIPES:
        raise LlmsimError(f"there is no recipe {name!r}. {nearest(name, RECIPES)}")
    found = RECIPES[name]
    space: dict[str, Range] = {}
    for kind, where, spec in _policies(scenario):
        for key, values in found.space.get(kind, {}).items():
            value = _at(spec, key)
            if value is not None or key not in found.where_set:
                space[f"{where}.{key}"] = _below_max(spec, values) if key == "backoff.initial" else values
    if not space:
        raise ScenarioError(
            f"the recipe {name} is about {' and '.join(found.needs)}, and this gateway has nothing of the kind to "
            "tune; add one to the scenario first, or name a --space",
            scenario.name,
        )
    why = (
        "what a good answer costs; wrong ones are no good, but what they do beyond that is not in it"
        if found.minimize == _CHEAP
        else "failures count as never, and what stalls or is asked again counts as well"
    )
    reason = f"{found.minimize} was made small, as nothing else was asked for: {why}."
    return Ready(space, f"{found.about} {found.source}", found.minimize, reason)


def check_bounded(name: str, goals: Sequence[Goal], limits: Sequence[Sequence[Objective]]) -> None:
    """That the goals or the limits of every scenario keep a recipe from going to an end of its range.

    Raises
    ------
    LlmsimError
        With what to type.
    """
    needed = RECIPES[name].bounded
    if not needed or any(part.metric in needed for goal in goals for part in goal.sum.metrics):
        return
    if not all(any(line.metric in needed for line in lines) for lines in limits):
        raise LlmsimError(
            f"nothing here keeps the answers right, so the recipe {name} would end at the lowest threshold. Bound the "
            f'wrong ones, --subject-to "{needed[0]} < 0.5%", or say what one costs you in dollars, '
            f'--minimize "cost_per_ok + 0.02*{needed[0]}"'
        )


def _policies(scenario: Scenario) -> Iterator[tuple[str, str, Any]]:
    """Kind, path and spec of every policy."""
    scopes: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("gateway", lambda: scenario.gateway.policies),
        ("upstream", lambda: scenario.gateway.upstream),
    )
    for scope, policies in scopes:
        kinds = [getattr(spec, "kind", None) for spec in policies()]
        for index, spec in enumerate(policies()):
            kind = kinds[index]
            if not isinstance(kind, str):
                continue
            name = getattr(spec, "name", None)
            nameless = [s for s in policies() if getattr(s, "kind", None) == kind and not getattr(s, "name", None)]
            place = name or (kind if len(nameless) == 1 else None)
            yield kind, f"{scope}.{place}" if place else _by_index(scope, index, kind), spec


def _by_index(scope: str, index: int, kind: str) -> str:
    place = "policies" if scope == "gateway" else "upstream"
    return f"gateway.{place}[{index}].{kind}"


def _below_max(spec: Any, values: Range) -> Range:
    """A first sleep is no longer than the longest; where that is short, it is tried down to a tenth of it."""
    low, high, *log = values
    longest = spec.backoff.max
    if DURATION.parse(high) <= longest:
        return values
    shortest = low if DURATION.parse(low) <= longest / 10 else f"{longest * 100:g}ms"
    return (shortest, f"{longest:g}s", *log)


def _at(spec: Any, key: str) -> Any:
    for part in key.split("."):
        spec = getattr(spec, part, None)
    return spec
