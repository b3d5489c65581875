"""Which keys the frozen specs take, read from their type hints: for near matches and examples in messages."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from llmsim.scenario.document import Path
from llmsim.units import Unit

__all__ = ["at_path", "dataclass_of", "dataclasses_below", "example", "keys_of", "nearest"]

# Fields that a file cannot set: they hold Python objects.
_NOT_IN_FILES = {"Gateway": {"entry"}, "Scenario": {"source"}, "SemanticCache": {"verifier"}}

# What to add where a required key is missing and its unit says nothing.
_EXAMPLES = {
    "version": "1",
    "traffic": "{base_rate: 4/s}",
    "providers": "{openai: {ttft: 450ms, inter_token: 12ms}}",
    "name": "brown-out",
    "provider": "openai",
    "order": "[openai, anthropic]",
    "time": "2s",
    "queue": "{limit: 100, timeout: 10s}",
    "priority": "0",
    "on": "[rate_limited, server_error]",
    "points": "[{at: 50%}, {at: 100%, ttft: 2x, inter_token: 1.5x}]",
    "file": "requests.csv",
    "client": "nightly-reports",
    "levels": "[{priority: 0, above: 60%}, {priority: 10, above: 95%}]",
}

#: Keys by which gateways, proxies, load testers and clients call what has another name here, with how it is written:
#: LiteLLM (rpm, tpm, num_retries, allowed_fails, cooldown_time), OpenAI's and Anthropic's SDKs (max_retries, timeout),
#: resilience4j and Polly (failure_threshold, break_duration), tenacity (wait_min), k6 (thresholds, rate), Envoy
#: (percent), agents' frameworks (max_steps, max_iterations, recursion_limit).
_ELSEWHERE: dict[str, tuple[tuple[str, str], ...]] = {
    "rpm": (("requests", "requests: 5000/min"),),
    "tpm": (("tokens", "tokens: 4M/min"),),
    "rps": (("requests", "requests: 80/s"), ("base_rate", "base_rate: 80/s")),
    "qps": (("requests", "requests: 80/s"), ("base_rate", "base_rate: 80/s")),
    "rate": (("base_rate", "base_rate: 80/s"), ("percentage", "percentage: 30%")),
    "max_retries": (("max_attempts", "max_attempts, which counts the first: 3 retries are max_attempts: 4"),),
    "num_retries": (("max_attempts", "max_attempts, which counts the first: 3 retries are max_attempts: 4"),),
    "retries": (("max_attempts", "max_attempts, which counts the first: 3 retries are max_attempts: 4"),),
    "max_parallel_requests": (("concurrency", "concurrency: 32"), ("limit", "limit: 32")),
    "max_concurrency": (("concurrency", "concurrency: 32"), ("limit", "limit: 32")),
    "slots": (("concurrency", "concurrency: 32"),),
    "percent": (("percentage", "percentage: 30%"),),
    "probability": (("percentage", "percentage: 30%"),),
    "max_steps": (("max_calls", "max_calls: 100"),),
    "max_iterations": (("max_calls", "max_calls: 100"),),
    "recursion_limit": (("max_calls", "max_calls: 100"),),
    "status_code": (("status", "status: 529"),),
    "code": (("status", "status: 529"),),
    "start": (("at", "at: 2m"),),
    "end": (("duration", "at: and duration:, at: 2m, duration: 90s"),),
    "until": (("duration", "at: and duration:, at: 2m, duration: 90s"),),
    "failure_threshold": (("failure_rate", "failure_rate: 50% with minimum_calls: 20"),),
    "threshold": (("failure_rate", "failure_rate: 50% with minimum_calls: 20"),),
    "break_duration": (("wait_in_open", "wait_in_open: 15s"),),
    "reset_timeout": (("wait_in_open", "wait_in_open: 15s"),),
    "recovery_timeout": (("wait_in_open", "wait_in_open: 15s"),),
    "allowed_fails": (("failures", "failures: 3"),),
    "cooldown_time": (("time", "time: 5s"),),
    "base_delay": (("initial", "initial: 500ms"),),
    "wait_min": (("initial", "initial: 500ms"),),
    "factor": (("multiplier", "multiplier: 2"),),
    "max_delay": (("max", "max: 20s"),),
    "wait_max": (("max", "max: 20s"),),
    "thresholds": (("slo", 'slo: {ttft: ["p(95) < 2s"]}'),),
    "upstreams": (("providers", "providers: {openai: {profile: openai-gpt-4o}}"),),
    "models": (("providers", "providers: {openai: {profile: openai-gpt-4o}}"),),
    "model_list": (("providers", "providers:; `llmsim import-gateway` reads a LiteLLM config"),),
}
#: Of `difflib`'s measure. At its default of 0.6 "recovery" would be taken for "provider".
_NEAR = 0.65


def keys_of(cls: Any) -> dict[str, Any]:
    """Keys a dataclass takes in a file, with their annotations."""
    return _keys_of(cls)


@cache
def _keys_of(cls: Any) -> dict[str, Any]:
    alias = getattr(cls, "__pydantic_config__", {}).get("alias_generator", str)
    hidden = _NOT_IN_FILES.get(cls.__name__, set())
    hints = get_type_hints(cls, include_extras=True)
    return {alias(f.name): hints[f.name] for f in dataclasses.fields(cls) if f.init and f.name not in hidden}


def at_path(annotation: Any, path: Path) -> Any:
    """The annotation of what stands at `path` below something annotated so; None where nothing can."""
    for part in path:
        annotation = next((found for found in (_step(a, part) for a in _members(annotation)) if found), None)
    return annotation


def dataclass_of(annotation: Any) -> type[Any] | None:
    """The dataclass an annotation stands for, through ``Annotated`` and ``| None``."""
    members = _members(annotation)
    return next((m for m in members if isinstance(m, type) and dataclasses.is_dataclass(m)), None)


def dataclasses_below(*annotations: Any) -> list[type[Any]]:
    """The dataclasses that can stand somewhere below these annotations, themselves included."""
    found: list[type[Any]] = []
    waiting = list(annotations)
    while waiting:
        for member in _members(waiting.pop()):
            if not isinstance(member, type):
                waiting += get_args(member)
            elif dataclasses.is_dataclass(member) and member not in found:
                found.append(member)
                waiting += keys_of(member).values()
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'retry'?``, how a word of another tool is written here, or the list of what is known.

    Examples
    --------
    >>> nearest("rety", ["retry", "cache"]), nearest("rpm", ["requests", "tokens"]), nearest("recovery", ["provider"])
    ("Did you mean 'retry'?", 'Write requests: 5000/min.', 'Known: provider.')
    """
    names = list(known)
    theirs = next((how for name, how in _ELSEWHERE.get(word.casefold(), ()) if name in names), "")
    if theirs:
        return f"Write {theirs}."
    near = get_close_matches(word, names, n=1, cutoff=_NEAR) or [
        name for name in names if name.casefold() == word.casefold()
    ]
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(names)}." if names else "Nothing is known here."


def example(key: str, annotation: Any) -> str:
    """How the value of `key` could be written."""
    marks = (getattr(mark, "unit", mark) for mark in getattr(annotation, "__metadata__", ()))  # of distributions, too
    unit = next((mark for mark in marks if isinstance(mark, Unit)), None)
    return unit.examples[0] if unit else _EXAMPLES.get(key, "…")


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members(member)]
    return [annotation]


def _step(annotation: Any, part: str | int) -> Any:
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return keys_of(annotation).get(str(part))
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and isinstance(part, int):
        return arguments[0]
    if get_origin(annotation) is dict:
        return arguments[1]
    return None
