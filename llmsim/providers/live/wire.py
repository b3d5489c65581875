"""What the protocols of live providers have in common: a request in a vendor's words, and an answer out of them.

A *wire* knows one vendor's words and nothing else: no connections, no keys, no time. `llmsim.providers.live.upstream`
sends what it says, `llmsim.providers.live.events` reads the stream that comes back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from llmsim.errors import BadRequest
from llmsim.providers.live.errors import ErrorObject
from llmsim.types import Message, Request, Usage

__all__ = [
    "Piece",
    "Reader",
    "Wire",
    "checked_messages",
    "count_of",
    "estimate_input",
    "estimate_tokens",
    "objects_in",
    "schema_of",
    "split_system",
]

#: Rule of thumb for English under the GPT tokenizers, used only where the server reports no usage.
_CHARACTERS_PER_TOKEN = 4


class Piece(NamedTuple):
    """What one event of a stream, or a whole answer, says."""

    text: str = ""
    finish_reason: str = ""  #: ours: stop, length, refusal, content_filter; the vendor's own where it is another
    usage: Usage | None = None
    hidden_tokens: int = 0  #: of its output tokens, those that are no part of the text (reasoning)
    done: bool = False  #: nothing follows
    failed: ErrorObject | None = None  #: the server gave up; why


class Reader(Protocol):
    """Reads one answer: made anew for each, as usage may come in parts."""

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        """What an event of a stream says; `answer` is its data, decoded."""

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        """What an answer in one piece says; None: it is no answer of this protocol."""


class Wire(Protocol):
    """One vendor's protocol."""

    def path(self, model: str, *, stream: bool) -> str:
        """What follows the base URL, from the slash on."""

    def payload(self, request: Request, model: str, *, upstream: str) -> dict[str, Any]:
        """The JSON body of a call.

        Raises
        ------
        BadRequest
            The request cannot be said in this protocol; nothing is sent.
        """

    def headers(self) -> Mapping[str, str]:
        """Sent with every call; no keys."""

    def reader(self) -> Reader:
        """For one answer."""


def checked_messages(request: Request, upstream: str) -> tuple[Message, ...]:
    """The request's messages.

    Raises
    ------
    BadRequest
        It has none; or it has what no live upstream is sent.
    """
    if request.messages is None:
        raise BadRequest(
            f"request {request.id!r} has no messages: a live upstream needs the prompt itself, not only its size. "
            "Set Request.messages",
            upstream=upstream,
        )
    if request.tools:
        raise BadRequest(f"request {request.id!r} has tools, which live upstreams are not sent yet", upstream=upstream)
    return request.messages


def split_system(messages: tuple[Message, ...]) -> tuple[str, list[Message]]:
    """Instructions apart, for protocols that have a field of their own for them."""
    instructions = [message.content for message in messages if message.role in ("system", "developer")]
    return "\n\n".join(instructions), [one for one in messages if one.role not in ("system", "developer")]


def schema_of(request: Request, upstream: str) -> Any:
    """The response schema, decoded; None without one.

    Raises
    ------
    BadRequest
        It is not JSON.
    """
    if request.response_schema is None:
        return None
    try:
        return json.loads(request.response_schema)
    except ValueError as error:
        raise BadRequest(f"response_schema of request {request.id!r} is not JSON: {error}", upstream=upstream) from None


def count_of(fields: Any, name: str) -> int:
    """A count in an object of usage; 0 where it is missing or no count."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def objects_in(values: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; none if it is no list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def estimate_tokens(text: str) -> int:
    """Roughly how many tokens a text is; at least one if there is any."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def estimate_input(request: Request) -> int:
    """Input tokens of a request: the caller's own estimate, else one from the length of the messages."""
    return request.input_tokens or sum(estimate_tokens(message.content) for message in request.messages or ())
