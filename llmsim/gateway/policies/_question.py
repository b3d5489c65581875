"""When two requests ask the same, and whether that may be used: for everything that gives one's answer to another."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple

from llmsim.gateway.caching import CacheUse, Question
from llmsim.types import Request, Response, Usage

__all__ = [
    "Cacheable",
    "Made",
    "Per",
    "QuestionKey",
    "Questions",
    "Scope",
    "check_question",
    "made_by",
    "usage_of_one_call",
]

Scope = Literal["tenant", "user", "global"]
Cacheable = Literal["unsampled", "temperature_0", "all"]
#: What else can be part of what must be equal.
Per = Literal["route", "feature", "session", "user", "tenant"]
_SCOPES = ("tenant", "user", "global")
_RULES = ("unsampled", "temperature_0", "all")


def check_question(kind: str, scope: str, cacheable: str) -> None:
    """Refuse words that are none.

    Raises
    ------
    ValueError
        Naming the policy and the words there are.
    """
    if scope not in _SCOPES:
        raise ValueError(f"unknown {kind} scope {scope!r}; write {', '.join(_SCOPES[:-1])} or {_SCOPES[-1]}")
    if cacheable not in _RULES:
        raise ValueError(f"unknown cacheable {cacheable!r}; write {', '.join(_RULES[:-1])} or {_RULES[-1]}")


class QuestionKey:
    """Everything that changes the answer, as one value; None for a request whose answer is its own.

    That is one without messages, for there is nothing to compare (the lab's requests have some), and one that asks for
    variety: see `cacheable`.

    Parameters
    ----------
    scope
        Who may be given whose answer: ``tenant`` (nothing crosses tenants), ``user`` (of a tenant), or ``global``.
    cacheable
        ``unsampled``: requests with no temperature or with 0. ``temperature_0``: only those that say 0. ``all``:
        whatever the temperature.
    """

    __slots__ = ("_any_temperature", "_none_too", "_scope")

    def __init__(self, scope: Scope, cacheable: Cacheable) -> None:
        self._scope = scope
        self._any_temperature = cacheable == "all"
        self._none_too = cacheable == "unsampled"

    def __call__(self, request: Request) -> Hashable | None:
        temperature = request.temperature
        if not request.messages or not (
            self._any_temperature or temperature == 0 or (temperature is None and self._none_too)
        ):
            return None
        if self._scope == "tenant":
            owner: Hashable = request.tenant
        else:
            owner = None if self._scope == "global" else (request.tenant, request.user)
        return (
            owner,
            request.upstream,
            request.model,
            request.messages,
            request.max_tokens,
            temperature,
            request.tools,
            request.response_schema,
        )


_INSTRUCTIONS = ("system", "developer")  #: roles of what is no part of the conversation


class Questions:
    """Requests as a semantic cache looks at them; None for one whose answer is its own.

    That is what `QuestionKey` leaves alone, and besides: what does not end with the user's words, and what brings tools
    or wants JSON where that is not to be kept.

    Parameters
    ----------
    scope, cacheable
        As for `QuestionKey`.
    per
        Fields of requests that must be equal besides.
    conversation
        Whether what was said before the last message must be the same to the letter. If not, only instructions must,
        and two questions whose histories differ are the same in other words, never to the letter.
    tools, json
        Whether answers to requests with tools, or with a response schema, are kept.
    generation
        Part of what must be equal.
    """

    __slots__ = ("_conversation", "_generation", "_json", "_per", "_rule", "_rules", "_scope", "_tools")

    def __init__(
        self,
        scope: Scope,
        cacheable: Cacheable,
        *,
        per: tuple[str, ...] = (),
        conversation: bool = True,
        tools: bool = False,
        json: bool = True,
        generation: str = "",
    ) -> None:
        self._scope = scope
        self._rule = cacheable
        self._per = per
        self._conversation = conversation
        self._tools = tools
        self._json = json
        self._generation = generation
        # What the texts of a partition stand for. Gateways with other rules may have the same store, and there "" would
        # be the owner of what is everybody's and of what has no tenant; a route, and a feature of that name.
        self._rules = " ".join((scope, "conversation" if conversation else "last_message", *per))

    def __call__(self, request: Request) -> Question | None:
        messages, temperature = request.messages, request.temperature
        if not messages or messages[-1].role != "user":
            return None
        if temperature is None:
            if self._rule == "temperature_0":
                return None
        elif temperature != 0 and self._rule != "all":
            return None
        if (request.tools and not self._tools) or (request.response_schema is not None and not self._json):
            return None
        *history, last = messages
        scope = self._scope
        kept, key = history, last.content
        if not self._conversation:
            kept = [message for message in history if message.role in _INSTRUCTIONS]
            key = repr(history) + key
        partition = (
            self._rules,
            self._generation,
            "" if scope == "global" else request.tenant,
            request.user if scope == "user" else "",
            request.upstream or "",
            request.model or "",
            request.response_schema or "",
            repr(kept) if kept else "",
            "" if temperature is None else repr(float(temperature)),
            repr(request.tools) if request.tools else "",
            *[str(getattr(request, field)) for field in self._per],
        )
        return Question(request, partition, last.content, key)


def usage_of_one_call(response: Response, usage: Usage) -> Usage:
    """What one call would have used for an answer that one upstream began and others went on with: one prompt."""
    part, several = response, False
    while part.parents:
        several = several or len(part.parents) > 1
        part = part.parents[0]
    if not several:
        return usage
    first = part.usage
    return usage._replace(input_tokens=first.input_tokens, cached_input_tokens=first.cached_input_tokens)


class Made(NamedTuple):
    """Where an answer that is to be kept comes from."""

    request_id: str  #: it was made for
    at_s: float  #: complete, on the loop's clock
    match: str = "exact"  #: how near that request was to the one that is kept with it
    similarity: float = 1.0


_made: Callable[[type[Made], tuple[Any, ...]], Made] = tuple.__new__  # its own constructor is Python code


def made_by(response: Response, use: CacheUse | None, request_id: str, now_s: float) -> Made | None:
    """Where an answer that has just ended comes from; None if it is not to be kept.

    What a cache further in had is as old as it is, and was made for whom it was made: kept as if it were new, it would
    be served for two lives, and a wrong one would look right.
    """
    if response.served_from == "upstream":
        return _made(Made, (request_id, now_s, "exact", 1.0))
    # Of a shared call the one who pays for it knows the tokens; the others have the same answer, and no usage.
    if response.served_from == "flight" or use is None or not use.made_for:
        return None
    return Made(use.made_for, use.made_s, use.match, use.nearest)
