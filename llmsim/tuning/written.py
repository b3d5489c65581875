"""How what varies is written, in ``--over``, ``--space`` and in Python: values, whole policies, on and off, ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Written", "is_off", "is_on", "plain_text", "read_written", "split_values"]

_RANGE = re.compile(r"(?P<low>[^\s{\[].*?)\.\.(?P<high>\S+?)(?:\s+in\s+(?P<count>\d+))?(?P<log>\s+log)?")


class Written(NamedTuple):
    """What was written for one path."""

    values: tuple[Any, ...] = ()  #: or
    ends: tuple[Any, Any] | None = None  #: of a range
    log: bool = False  #: whether the range is even in ratios
    many: int | None = None  #: how many values of the range are meant; None: all


def read_written(given: Any) -> Written:
    """Values, or a range.

    Raises
    ------
    ValueError
        A tuple that is none.

    Examples
    --------
    >>> read_written("1,full,{max: 2s}").values, read_written("1|2").values, read_written([1, 2]).values
    ((1, 'full', {'max': '2s'}), (1, 2), (1, 2))
    >>> read_written("300ms..2s in 5 log")[1:], read_written((1, 8)).ends
    ((('300ms', '2s'), True, 5), (1, 8))
    """
    if isinstance(given, str):
        from llmsim.scenario.load import read_value

        found = _RANGE.fullmatch(given.strip())
        if found:
            ends = (read_value(found["low"]), read_value(found["high"]))
            return Written((), ends, bool(found["log"]), int(found["count"]) if found["count"] else None)
        return Written(tuple(read_value(piece) for piece in split_values(given)))
    if isinstance(given, tuple):
        if len(given) == 2 or (len(given) == 3 and given[2] in ("log", "linear")):
            return Written((), (given[0], given[1]), given[2:] == ("log",))
        raise ValueError(
            f'{given!r} is no range; a tuple is (low, high) or (low, high, "log"), and values are a list: [1, 2, 3]'
        )
    if isinstance(given, Sequence) or hasattr(given, "tolist"):
        return Written(tuple(given.tolist() if hasattr(given, "tolist") else given))
    return Written((given,))


def split_values(text: str) -> Iterator[str]:
    """The values of ``1,2,{a: [3, 4]}`` (or ``1|2|3``): inside brackets and quotes nothing separates.

    Examples
    --------
    >>> list(split_values('1, {jitter: full, max: 2s}, [a, b],"x,y"'))
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
        elif sign in ",|" and depth == 0:
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
