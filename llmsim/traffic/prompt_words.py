"""Which words about topics go together with a file of prompts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from llmsim.units import BadValue

if TYPE_CHECKING:
    from llmsim.traffic.spec import Topics

__all__ = ["check_prompts"]

_OF_PROMPTS = ("prompts", "order", "zipf")


def check_prompts(topics: Topics, file: str) -> None:
    """Refuse words that describe made-up questions: they would have no effect.

    Raises
    ------
    BadValue
        Naming the word.
    """
    if not file.strip():
        raise BadValue("the name of the file is empty; write prompts: prompts.csv", "prompts")
    for field in fields(topics):
        value = getattr(topics, field.name)
        if field.name not in _OF_PROMPTS and value != field.default:
            raise BadValue(f"what is asked stands in {file}, {field.name} and all; remove it, or prompts", field.name)
    default = type(topics.zipf)()
    if topics.zipf.unique != default.unique:
        raise BadValue(f"there are as many as {file} has; remove it", "zipf", "unique")
    if topics.order != "zipf" and topics.zipf.s != default.s:
        raise BadValue(f"order: {topics.order} does not go by popularity; remove it, or write order: zipf", "zipf", "s")
