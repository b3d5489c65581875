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
    "levels": "[{priority: 0, above: 60%}, {priority: 10, above: 95%}]",
}


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
    """``Did you mean 'retry'?``, or the list of what is known."""
    names = list(known)
    near = get_close_matches(word, names, n=1) or [name for name in names if name.casefold() == word.casefold()]
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(names)}." if names else "Nothing is known here."


def example(key: str, annotation: Any) -> str:
    """How the value of `key` could be written."""
    unit = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Unit)), None)
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
