"""When two requests ask the same, and whether that may be used: for everything that gives one's answer to another."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from llmsim.types import Request

__all__ = ["Cacheable", "QuestionKey", "Scope", "check_question"]

Scope = Literal["tenant", "user", "global"]
Cacheable = Literal["unsampled", "temperature_0", "all"]
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
