"""How what varies is written, in ``--over`` and in Python: values, whole policies, ``on`` and ``off``, ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["is_off", "is_on", "plain_text", "read_over", "split_over"]

_RANGE = re.compile(r"(?P<low>[^\s{\[].*?)\.\.(?P<high>\S+?)(?:\s+in\s+(?P<count>\d+))?(?P<log>\s+log)?")


def read_over(given: Any) -> tuple[list[Any], tuple[Any, Any, bool, int | None] | None]:
    """Values, or the ends of a range with whether it is logarithmic and how many values of it are wanted.

    Examples
    --------
    >>> read_over("1,full,{max: 2s}"), read_over("300ms..2s in 5 log"), read_over((1, 8))
    (([1, 'full', {'max': '2s'}], None), ([], ('300ms', '2s', True, 5)), ([], (1, 8, False, None)))
    """
    if isinstance(given, str):
        from llmsim.scenario.load import read_value

        found = _RANGE.fullmatch(given.strip())
        if found:
            count = int(found["count"]) if found["count"] else None
            return [], (read_value(found["low"]), read_value(found["high"]), bool(found["log"]), count)
        return [read_value(piece) for piece in split_over(given)], None
    if isinstance(given, tuple):
        if len(given) == 2 or (len(given) == 3 and given[2] == "log"):
            return [], (given[0], given[1], len(given) == 3, None)
        raise ValueError('a tuple is a range, (low, high) or (low, high, "log"); write values as a list')
    if isinstance(given, range):
        return list(given), None
    if isinstance(given, Sequence) or hasattr(given, "tolist"):
        return list(given.tolist() if hasattr(given, "tolist") else given), None
    return [given], None


def split_over(text: str) -> Iterator[str]:
    """The values of ``1,2,{a: [3, 4]}``: commas inside brackets and quotes separate nothing.

    Examples
    --------
    >>> list(split_over('1, {jitter: full, max: 2s}, [a, b],"x,y"'))
    ['1', '{jitter: full, max: 2s}', '[a, b]', '"x,y"']
    """
    depth, quote, start = 0, "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    if text[start:].strip():
        yield text[start:].strip()


def is_off(value: Any) -> bool:
    """Whether a value takes a policy away."""
    return value is False or value == "off"


def is_on(value: Any) -> bool:
    """Whether a value leaves a policy as the scenario has it."""
    return value is True or value == "on"


def plain_text(value: Any) -> str:
    """A value in the way of YAML, on one line.

    Examples
    --------
    >>> plain_text({"max_attempts": 2, "on": ["timeout", True]}), plain_text("300ms"), plain_text(None)
    ('{max_attempts: 2, on: [timeout, true]}', '300ms', 'null')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain_text(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | int | float):
        return str(value)
    # Of an object without a text of its own, the class: where it lies in memory is not the same next time.
    text: Any = type(value).__repr__
    plain = text is object.__repr__
    return str(getattr(value, "__name__", None) or (type(value).__name__ if plain else repr(value)))
