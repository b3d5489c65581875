"""What a column of somebody's log is in our terms: ``ttft_s=first_token_ms/1000``, ``e2e_s=endTime-startTime``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from llmsim.errors import LlmsimError

__all__ = ["FIELDS", "formula", "lookup", "number_of", "read_map"]

#: What a mapping can say, and what each is.
FIELDS: dict[str, str] = {
    "sent_s": "when the call was sent: seconds on any clock, or a date with a time",
    "ttft_s": "seconds from there to the first token",
    "e2e_s": "seconds from there to the end",
    "input_tokens": "of the prompt, cached ones included",
    "cached_tokens": "of these, read from the provider's prompt cache",
    "output_tokens": "of the answer",
    "outcome": "ok, success, true, 1 or 200; else an error word or an HTTP status",
    "cost_usd": "what it cost",
    "model": "name of the model",
    "upstream": "name of the provider",
    "status": "HTTP status",
    "retry_after_s": "seconds that a 429 asked to wait",
    "server_s": "of ttft_s, what the server says it took itself (openai-processing-ms/1000, say)",
    "connect_s": "of ttft_s, for a new connection",
    "run": "which run, where several were written on one clock: they are taken one after the other",
}

_PART = re.compile(
    r"\s*(?:(?P<op>[-+*/])|(?P<number>\d+\.?\d*(?:e-?\d+)?)|(?P<name>[A-Za-z_][\w.]*)|`(?P<quoted>[^`]+)`)"
)


def read_map(texts: list[str], fields: Mapping[str, str] = FIELDS) -> dict[str, str]:
    """``field=formula`` texts as a mapping; `fields` are those that there are.

    Raises
    ------
    LlmsimError
        One of them is none.

    Examples
    --------
    >>> read_map(["ttft_s=first_token_ms/1000", "sent_s=time"])
    {'ttft_s': 'first_token_ms/1000', 'sent_s': 'time'}
    """
    found = {}
    for text in texts:
        field, equals, said = text.partition("=")
        field = field.strip()
        if not equals or not said.strip() or field not in fields:
            raise LlmsimError(
                f"--map {text}: write FIELD=COLUMN or a sum such as ttft_s=first_token_ms/1000; fields are "
                f"{', '.join(fields)}"
            )
        formula(said)
        found[field] = said.strip()
    return found


def formula(text: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function of a row: columns, numbers and ``+ - * /``, from left to right.

    A column whose name is not of letters, digits, ``_`` and ``.`` stands in backquotes. A dot goes into nested objects.
    A single column is given as it stands; None where something is missing.

    Raises
    ------
    LlmsimError
        It cannot be read.

    Examples
    --------
    >>> formula("`first token`/1000")({"first token": "250"})
    0.25
    >>> formula("end-start")({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01 00:00:01.5+00:00"})
    1.5
    >>> formula("usage.prompt")({"usage": {"prompt": 12}})
    12
    """
    parts: list[tuple[str, str]] = []  # operator before it, operand
    at, operator = 0, "+"
    wants_operand = True
    text = text.strip()
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or bool(found["op"]) == wants_operand:
            raise LlmsimError(f"{text!r} is no column or sum of columns; write like first_token_ms/1000 or end-start")
        at = found.end()
        if found["op"]:
            operator = found["op"]
        else:
            parts.append((operator, found[found.lastgroup or ""] if found["number"] is None else f"={found['number']}"))
        wants_operand = not wants_operand
    if wants_operand:
        raise LlmsimError(f"{text!r} ends too early; write like first_token_ms/1000 or end-start")
    if len(parts) == 1:
        return lambda row: _operand(row, parts[0][1], plain=True)

    def value(row: Mapping[str, Any]) -> float | None:
        total = 0.0
        for operator, name in parts:
            one = _operand(row, name, plain=False)
            if one is None or (operator == "/" and one == 0):
                return None
            total = {"+": total + one, "-": total - one, "*": total * one, "/": total / (one or 1)}[operator]
        return total

    return value


def _operand(row: Mapping[str, Any], name: str, *, plain: bool) -> Any:
    if name.startswith("="):
        return float(name[1:])
    found = lookup(row, name)
    return found if plain else number_of(found)


def lookup(row: Mapping[str, Any], name: str) -> Any:
    """A column by its name; with dots, of an object in it. None where it is not there."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def number_of(value: Any) -> float | None:
    """A number, or the seconds since 1970 of a date; None where it is neither."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    except (TypeError, ValueError):
        pass
    try:
        when = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    # Differences are what matters: a date without a zone counts as UTC.
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
