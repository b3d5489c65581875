"""A scenario file as plain values that still know where they stood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmsim.errors import Problem

__all__ = ["Document", "Place", "Spot", "dotted"]

Path = tuple[str | int, ...]  #: keys and list indices from the top level down


class Spot(NamedTuple):
    """A position in the text, counted from 1."""

    line: int
    column: int


class Place(NamedTuple):
    """Where something stands: its key (the start of the item, in a list) and its value."""

    key: Spot
    value: Spot


@dataclass(frozen=True)
class Document:
    """The content of a scenario file, before anything is checked against the schema.

    Parameters
    ----------
    data
        Dicts, lists and scalars.
    source
        What the user calls it, for messages.
    places
        Where everything stood; empty if it did not come from text.
    unread
        Paths, as `dotted` writes them, of values that could not be made sense of and stand for nothing.
    """

    data: Any
    source: str = ""
    places: Mapping[Path, Place] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    def get(self, path: Path, default: Any = None) -> Any:
        """The value at `path`, or `default` where there is none."""
        value = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def problem(self, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """A problem with the value at `path`; mappings and lists are pointed at by their key.

        Where `path` does not exist, the nearest thing around it is pointed at.
        """
        at_key = at_key or isinstance(self.get(path), dict | list | None)
        near = path
        while near not in self.places and near:
            near, at_key = near[:-1], True
        place = self.places.get(near)
        if place is None:
            return Problem(message, dotted(path), None, None, hint)
        spot = place.key if at_key else place.value
        return Problem(message, dotted(path), spot.line, spot.column, hint)

    def line(self, path: Path) -> int | None:
        """Line of the value at `path`, from 1."""
        place = self.places.get(path)
        return place.value.line if place else None

    def with_data(self, data: Any) -> Document:
        """The same places over changed data."""
        return dataclasses.replace(self, data=data)


def dotted(path: Path) -> str:
    """A path as people write it.

    Examples
    --------
    >>> dotted(("gateway", "policies", 2, "retry", "max_attempts"))
    'gateway.policies[2].retry.max_attempts'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
