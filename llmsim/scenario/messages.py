"""Validation errors as problems: plain words, the place in the file, what to type instead."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from llmsim.errors import Problem
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import at_path, dataclass_of, example, keys_of, nearest

__all__ = ["problems_of", "sentence", "shown", "unknown_key"]


def problems_of(error: ValidationError, document: Document, root: Any, base: Path = ()) -> list[Problem]:
    """All problems of one failed validation.

    Parameters
    ----------
    error
        What pydantic found.
    document
        What was validated.
    root
        The annotation it was validated against.
    base
        Where in the document the validated part begins.
    """
    found: dict[Path, Problem] = {}
    for item in error.errors(include_url=False):
        path, below = _locate(document, base, item)
        if path not in found:
            found[path] = _problem(item, document, path, at_path(root, path[len(base) :]), root, base, below)
        elif item["type"] == "literal_error":  # another branch of a union
            problem = found[path]
            hint = f"{problem.hint.rstrip('.')}, or {item['ctx']['expected']}."
            found[path] = problem._replace(hint=hint)
    return list(found.values())


def _locate(document: Document, base: Path, item: Any) -> tuple[Path, Path]:
    """Path of the error, and the place to point at if that is deeper (inside a distribution)."""
    path = base
    location = item["loc"]
    for number, part in enumerate(location):
        step = (*path, part)
        last = number == len(location) - 1
        if document.get(step, _ABSENT) is _ABSENT and not (last and item["type"] == "missing"):
            break  # what follows are pydantic's names for the branches of a union
        path = step
    return path, getattr(item.get("ctx", {}).get("error"), "at", ())


_ABSENT = object()


def _problem(item: Any, document: Document, path: Path, annotation: Any, root: Any, base: Path, below: Path) -> Problem:
    kind, value = item["type"], item["input"]
    if kind == "missing":
        key = str(path[-1])
        return document.problem(path, f"{key!r} is missing", f"Add {key}: {example(key, annotation)}.")
    if kind == "unexpected_keyword_argument":
        owner = at_path(root, path[len(base) : -1])
        return unknown_key(document, path, owner)
    if kind == "value_error":
        message, hint = sentence(str(item["ctx"]["error"]))
        return document.problem((*path, *below), "no value is given" if value is None else message, hint)
    if value is None:
        return document.problem(path, "no value is given", "Write one, or remove the key.")
    if path == ("version",):
        return document.problem(path, f"this llmsim does not read version {value}", "Write version: 1.")
    needs, hint = _needs(kind, item, annotation, path)
    return document.problem(path, f"needs {needs}, not {shown(value)}", hint)


def _needs(kind: str, item: Any, annotation: Any, path: Path) -> tuple[str, str]:
    """What a value of the right type is, and how to write it."""
    value = item["input"]
    if kind == "literal_error":
        expected = str(item["ctx"]["expected"])
        choices = [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
        return expected, nearest(value, choices) if isinstance(value, str) else f"Write {choices[0]}."
    if kind == "string_type":
        return "text", f'Put it in quotes: "{value}".' if isinstance(value, int | float) else "Write a single word."
    if kind.startswith("int"):
        return "a whole number", "Write it like 7."
    if kind.startswith("bool"):
        return "true or false", "Write true or false."
    if kind == "tuple_type":
        if isinstance(value, dict):
            return "a list", "Begin each item with '- '."
        return "a list", f"Write {path[-1]}: [{shown(value)}]."
    if kind in ("dataclass_type", "dict_type"):
        cls = dataclass_of(annotation)
        return "a mapping", f"It takes {', '.join(keys_of(cls))}." if cls else "Write it like name: {…}."
    return str(item["msg"]).removeprefix("Input should be ").lower(), "See 'llmsim schema'."


def unknown_key(document: Document, path: Path, owner: Any) -> Problem:
    """The problem that the last part of `path` is no key of `owner` (an annotation)."""
    cls = dataclass_of(owner)
    return document.problem(
        path, f"unknown key {str(path[-1])!r}", nearest(str(path[-1]), keys_of(cls) if cls else ()), at_key=True
    )


def sentence(text: str) -> tuple[str, str]:
    """Split ``what is wrong; what to write`` into message and hint."""
    message, _, hint = text.partition("; ")
    if not hint:
        return message, ""
    return message, hint[0].upper() + hint[1:] + ("" if hint.endswith((".", "?", ")")) else ".")


def shown(value: object) -> str:
    """A value as it would be written in YAML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
