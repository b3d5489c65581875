"""From parser events to values that know where they stood.

Nodes are built here and not by a YAML constructor: so no tag can make an object, an alias bomb is refused by
arithmetic before it is expanded, nesting is bounded without recursion, and every value keeps its line and column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

from llmsim.errors import Problem
from llmsim.scenario.document import Document, Place, Spot, dotted

__all__ = ["Builder", "Refused", "refuse"]

# A long scenario has a few hundred values, six levels deep.
MAX_VALUES = 50_000  #: after aliases are expanded
MAX_DEPTH = 40

_START = Spot(1, 1)
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq")}


class Refused(Exception):
    """A problem after which nothing more can be said about the file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def refuse(message: str, hint: str, spot: Spot = _START) -> NoReturn:
    """Give up on the file."""
    raise Refused(Problem(message, "", spot.line, spot.column, hint))


@dataclass(slots=True)
class _Node:
    """A scalar, a list or a mapping. An aliased node is one object in several places."""

    spot: Spot
    kind: str  #: scalar, list, map
    value: Any = None  #: of a scalar
    text: str = ""  #: as it was written
    items: list[_Node] = field(default_factory=list)  #: of a mapping: key, value, key, value, …
    size: int = 1  #: values in it after expanding aliases
    anchor: str | None = None
    wrong: tuple[str, str] | None = None  #: message and hint
    date: bool = False  #: reads as a date, which is wrong unless its key is `date`


class Builder:
    """Takes the parser's events and gives a `Document`.

    Parameters
    ----------
    resolve
        The tag of a scalar that carries none, from its text and the parser's ``implicit``.
    """

    def __init__(self, resolve: Callable[[str, Any], str]) -> None:
        self._resolve = resolve
        self._root: _Node | None = None
        self._stack: list[_Node] = []
        self._anchors: dict[str, _Node] = {}
        self._problems: list[Problem] = []
        self._unread: set[str] = set()
        self._places: dict[tuple[str | int, ...], Place] = {}

    def feed(self, event: Any) -> None:
        """Take the next event."""
        kind = type(event).__name__
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        if kind == "DocumentStartEvent" and self._root is not None:
            refuse("a second document starts here", "Remove the '---'; one file holds one scenario.", spot)
        elif kind == "ScalarEvent":
            node = _Node(spot, "scalar", text=event.value, anchor=event.anchor)
            _read_scalar(node, event, self._resolve)
            self._add(node)
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            node = _Node(spot, "list" if kind == "SequenceStartEvent" else "map", anchor=event.anchor)
            _check_tag(node, event)
            if len(self._stack) >= MAX_DEPTH:
                refuse(f"nested more than {MAX_DEPTH} levels deep", "Close the brackets before this one.", spot)
            self._stack.append(node)
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            self._add(self._stack.pop())
        elif kind == "AliasEvent":
            self._alias(event.anchor, spot)

    def _alias(self, name: str, spot: Spot) -> None:
        if any(node.anchor == name for node in self._stack):
            refuse(f"*{name} stands inside of &{name}, so it contains itself", "Write the value out.", spot)
        if name not in self._anchors:
            near = get_close_matches(name, self._anchors, n=1)
            refuse(f"there is no &{name} above", f"Did you mean *{near[0]}?" if near else "Write the value out.", spot)
        self._add(self._anchors[name], spot)

    def _add(self, node: _Node, spot: Spot | None = None) -> None:
        if node.anchor is not None:
            self._anchors[node.anchor] = node
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        parent.items.append(node)
        parent.size += node.size
        if parent.size > MAX_VALUES:
            hint = f"Keep it below {MAX_VALUES:,}, aliases written out."
            refuse("more values than any scenario has (aliases of aliases multiply)", hint, spot or node.spot)

    def document(self, *, top_level_mapping: bool) -> tuple[Document, list[Problem]]:
        """What was built; where it is from is not known here."""
        root = self._root
        if not top_level_mapping and root is None:
            root = _Node(_START, "scalar")
        if root is None or (root.kind == "scalar" and root.value is None and top_level_mapping):
            hint = "Start with 'version: 1', then traffic: and providers:."
            refuse("the file is empty", hint)
        if root.kind != "map" and top_level_mapping:
            what = "a list" if root.kind == "list" else "a single value"
            refuse(f"the file holds {what}", "Write keys: 'version: 1', then traffic: and providers:.", root.spot)
        data = self._expand(root, (), _START)
        return Document(data, places=self._places, unread=frozenset(self._unread)), self._problems

    def _expand(self, node: _Node, path: tuple[str | int, ...], key_spot: Spot) -> Any:
        self._places[path] = Place(key_spot, node.spot)
        if node.wrong is not None and not (node.date and path[-1:] == ("date",)):
            self._report(path, node.spot, *node.wrong)
            self._unread.add(dotted(path))
        if node.kind == "scalar":
            return node.value
        if node.kind == "list":
            return [self._expand(item, (*path, index), item.spot) for index, item in enumerate(node.items)]
        return {
            name: self._expand(value, (*path, name), key.spot)
            for name, (key, value) in self._entries(node, path).items()
        }

    def _entries(self, node: _Node, path: tuple[str | int, ...]) -> dict[str, tuple[_Node, _Node]]:
        own: dict[str, tuple[_Node, _Node]] = {}
        merged: dict[str, tuple[_Node, _Node]] = {}
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            if key.kind != "scalar":
                what = {"list": "a list", "map": "a mapping"}[key.kind]
                self._report(path, key.spot, f"{what} cannot be a key", "Write key: value.")
                continue
            if not isinstance(key.value, str):
                self._report(path, key.spot, f"the key {key.text} is not text", f'Put it in quotes: "{key.text}".')
                key.value = key.text  # so that what stands below it is checked, too
            if key.value == "<<":
                for source in value.items if value.kind == "list" else [value]:
                    if source.kind != "map":
                        self._report((*path, "<<"), value.spot, "<< takes a mapping", "Write it like <<: *defaults.")
                        continue
                    merged = {**self._entries(source, path), **merged}
            elif key.value in own:
                first = own[key.value][0].spot.line
                message = f"{key.value!r} stands here a second time; the first is in line {first}"
                self._report((*path, key.value), key.spot, message, "Remove one of them.")
            else:
                own[key.value] = (key, value)
        return {**merged, **own}

    def _report(self, path: tuple[str | int, ...], spot: Spot, message: str, hint: str) -> None:
        self._problems.append(Problem(message, dotted(path), spot.line, spot.column, hint))


def _check_tag(node: _Node, event: Any) -> None:
    tag = str(event.tag or "")
    if tag not in ("", "!") and tag not in _PLAIN_TAGS:
        short = tag.replace(_TAG, "!!")
        node.wrong = (f"the tag {short} is not allowed; a scenario holds plain values only", "Remove the tag.")


def _read_scalar(node: _Node, event: Any, resolve: Callable[[str, Any], str]) -> None:
    text: str = event.value
    _check_tag(node, event)
    kind = str(event.tag or resolve(text, event.implicit)).removeprefix(_TAG)
    plain = text.lower().replace("_", "")
    try:
        if kind == "null":
            node.value = None
        elif kind == "bool":
            node.value = plain in ("true", "yes", "on", "y")
        elif kind == "int":
            node.value = int(plain, 0) if plain.lstrip("+-")[:2] in ("0x", "0o", "0b") else int(plain)
        elif kind == "float":
            node.value = float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        else:
            node.value = text
            if kind == "timestamp":
                node.date = True
                node.wrong = (
                    f"{text} is a date, and no key but date: takes one",
                    f'Put it in quotes if it is text: "{text}".',
                )
    except ValueError:
        node.value = text
        node.wrong = (f"{text[:40]} cannot be read as a number", "Put it in quotes if it is text.")
