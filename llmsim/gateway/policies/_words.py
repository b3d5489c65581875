"""The ``on:`` lists that several policies have."""

from __future__ import annotations

from typing import Annotated, Any

from llmsim.errors import ERROR_WORDS, error_matcher

__all__ = ["OnWords", "on_words"]


class _ErrorWord:
    """Tells editors, through the JSON Schema, which words an ``on:`` list takes."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "anyOf": [
                {"enum": [*ERROR_WORDS, "4xx", "5xx"]},
                {"type": "integer", "minimum": 400, "maximum": 599},
            ]
        }


OnWords = tuple[Annotated[str | int, _ErrorWord()], ...]


def on_words(spec: Any) -> None:
    """Check a frozen spec's ``on`` and make it a tuple, so that specs stay hashable.

    Raises
    ------
    ValueError
        For an unknown word, an empty list, or a bare word.
    """
    words = spec.on
    if isinstance(words, str | int):
        raise ValueError(f"on takes a list; write on: [{words}]")
    if not words:
        raise ValueError("on is empty, so nothing would ever match; write on: [server_error, timeout] or leave it out")
    error_matcher(words)
    object.__setattr__(spec, "on", tuple(words))
