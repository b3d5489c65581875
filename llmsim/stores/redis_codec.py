"""Entries as JSON, and questions as names: what goes into Redis, and what may come out of it.

Nothing that comes out is believed: an entry is built only from a text that says exactly what an entry has, field by
field. There is no pickle, and nothing is evaluated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Any, get_type_hints

from llmsim.gateway.caching import Entry, StoreError
from llmsim.types import Chunk, Usage

__all__ = ["canonical", "decoded", "digest", "encoded"]

_DIGITS = 32  #: of a digest in hex: 128 bits, and who reads an entry compares its key besides
_DEEPEST = 50  #: tuples inside of tuples in a key
_MOST = 2**53  #: of what is counted: any more, and sums with floats would not be exact


def canonical(value: Hashable) -> str:
    """One text for all values that are equal: of texts, numbers, None, and tuples of those.

    Never `hash`, which differs from process to process. As in a dict, ``0``, ``0.0`` and ``False`` are one key.

    Raises
    ------
    StoreError
        For a value of any other type, which two processes could not agree on.

    Examples
    --------
    >>> canonical(("a", None, (1, 2.5)))
    '["a",null,[1,2.5]]'
    >>> canonical((0.0, True)) == canonical((0, 1))
    True
    """
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, int):
        return int(value)
    raise StoreError(f"a key in Redis is made of texts, numbers, None and tuples, not of {type(value).__name__}")


def digest(text: str) -> str:
    """A short name for a text.

    Examples
    --------
    >>> digest("hello")
    '2cf24dba5fb0a30e26e83b2ac5b9e29e'
    """
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def encoded(entry: Entry) -> bytes:
    """An entry as JSON. Floats come back to the last bit, infinite ones too."""
    fields = entry._asdict()
    canonical(entry.key)  # refuses what could not come back
    fields["chunks"] = [tuple(chunk) for chunk in entry.chunks]
    return json.dumps(fields, separators=(",", ":")).encode()


def decoded(text: bytes) -> Entry | None:
    """The entry that `encoded` made this of; None if it is not one.

    While a gateway is replaced by one of another version, both read: fields that have defaults may be missing, and
    those that are not known here are left aside.
    """
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            return None
        return Entry(**{name: read(fields[name]) for name, read in _READ.items() if name in fields})
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # of JSON, a reader below, or Entry itself
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise TypeError
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise TypeError
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(value)


def _key(value: Any, depth: int = 0) -> Hashable:
    if isinstance(value, list) and depth < _DEEPEST:
        return tuple(_key(part, depth + 1) for part in value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError


def _chunk(value: Any) -> Chunk:
    text, tokens = _tuple(value)
    return Chunk(_text(text), _count(tokens))


_KINDS: dict[type, Callable[[Any], Any]] = {str: _text, float: _number, int: _count}
_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "partition": lambda value: tuple(_text(part) for part in _tuple(value)),
    "key": _key,
    "chunks": lambda value: tuple(_chunk(part) for part in _tuple(value)),
    "usage": lambda value: Usage(*(_count(part) for part in _tuple(value))),
}
#: What reads each field of an entry. A field of a type that is not known here is an error at import, not a lost entry.
_READ = {name: _SPECIAL.get(name) or _KINDS[kind] for name, kind in get_type_hints(Entry).items()}
