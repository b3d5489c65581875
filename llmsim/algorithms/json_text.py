"""The JSON in an answer: where it is, and whether what is missing may be added or something was lost."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = ["JsonText", "find_json"]

Ending = Literal["whole", "open", "cut", "none"]

_LITERALS = ("true", "false", "null")
_CLOSING = {"{": "}", "[": "]"}
_OPENS = re.compile(r"[{\[]")
#: Strings (some models write Python's), brackets and separators, a quote without its end, anything else.
_PIECE = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{}\[\]:,]|["']|[^\s"'{}\[\]:,]+""", re.DOTALL)


class JsonText(NamedTuple):
    """What `find_json` found.

    Attributes
    ----------
    ending
        How the last value ends. ``whole``: every bracket is closed. ``open``: brackets are missing behind a complete
        value. ``cut``: it stops in the middle of something (a number is: ``12`` may have been ``123``). ``none``: there
        is no object and no list.
    text
        The longest value, with its brackets closed; empty if the ending is ``cut`` or ``none``.
    """

    ending: Ending
    text: str = ""


def find_json(answer: str) -> JsonText:
    """The JSON object or list in an answer, without the words and fences around it.

    Closing what a model left open is safe only behind a value that is complete. A text that stops inside a string, a
    number or before a value has lost something, and a parser that completes it makes up the rest.

    Examples
    --------
    >>> find_json('Sure: {"a": 1}'), find_json('{"a": ["b"]')
    (JsonText(ending='whole', text='{"a": 1}'), JsonText(ending='open', text='{"a": ["b"]}'))
    >>> [find_json(text).ending for text in ('{"a": "b', '{"a": 12', '{"a":', "Sure!")]
    ['cut', 'cut', 'cut', 'none']
    """
    answer = answer.rstrip().removesuffix("```")
    found, at = JsonText("none"), 0
    while opens := _OPENS.search(answer, at):
        value, at = _value(answer, opens.start())
        if value.ending == "cut":
            return value
        found = JsonText(value.ending, max(found.text, value.text, key=len))
    return found


def _value(answer: str, begin: int) -> tuple[JsonText, int]:
    """The value that begins with the bracket at `begin`, and where it ends."""
    depth: list[str] = []  # the brackets that are open
    last, key = "", False  # the latest piece of text; whether it is a string that names what is still to come
    for found in _PIECE.finditer(answer, begin):
        piece = found[0]
        if piece in "\"'":
            return JsonText("cut"), len(answer)  # opened, and never closed
        if piece in "{[":
            depth.append(piece)
        elif piece in "}]":
            depth.pop()
            if not depth:
                return JsonText("whole", answer[begin : found.end()]), found.end()
        key = piece[0] in "\"'" and depth[-1] == "{" and last in "{,"
        last = piece
    if key or not (last[0] in "\"'}]" or last in _LITERALS):
        return JsonText("cut"), len(answer)
    return JsonText("open", answer[begin:] + "".join(_CLOSING[one] for one in reversed(depth))), len(answer)
