"""The same question at the same time is asked once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._flight import Flight
from llmsim.gateway.policies._flights import Flights
from llmsim.gateway.policies._question import Cacheable, QuestionKey, Scope, check_question
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response

__all__ = ["SingleFlight"]

_ON_FAILURE = ("share", "alone")


@register("single_flight")
@dataclass(frozen=True, kw_only=True)
class SingleFlight:
    """Identical requests that are in flight together share one call to the upstream (request coalescing).

    **Protects from** a crowd that asks the same before the first answer can be in a cache: a front page, a cache that
    was emptied, a client that sends everything twice.

    **Costs** that all of a crowd depend on one call: if it is slow or fails, it is so for all of them.

    **Makes things worse** when answers should differ (several samples of one question: `cacheable` keeps those with a
    temperature apart), and when answers depend on something that is not in the request: then `scope`, or none of it.

    Who comes while a call is under way gets its stream from the beginning: what has come so far at once, then what
    comes, each reader at its own pace. The call ends when it has ended or when the last reader has left, whoever
    that is; that the first one leaves or runs out of time ends nothing for the others. *Identical* is what it is for
    `cache` (see there), and besides, streamed and whole answers are not the same. The shared call has no deadline,
    since each reader's own is kept outside; `timeout` goes inside.

    It is billed once: the tokens, the attempts and their cost are those of the first request, or of the next one in
    line when that left before the end (attempts that had ended by then, and a `budget` inside, stay with the one who
    began); the others have ``served_from: flight``, no attempts, and no usage.

    Goes inside of `cache` and outside of `hedge`, `retry` and `fallback`. A `hedge` outside of it never gets a second
    call: its second request is identical to the first.

    Parameters
    ----------
    scope
        Who may share with whom: ``tenant`` (default: nothing crosses tenants), ``user`` (of a tenant), or ``global``.
    cacheable
        ``unsampled`` (default): requests with no temperature or with 0. ``temperature_0``: only those that say 0.
        ``all``: whatever the temperature.
    on_failure
        When the shared call fails before its first chunk: ``share`` the error (default; the upstream gets one call from
        a crowd, not a crowd), or ``alone``: the others then each make their own call. What breaks after the first chunk
        breaks for all: tokens that were delivered cannot be taken back.
    shared
        One set of flights for all replicas of the gateway instead of one each.

    Notes
    -----
    Emits ``coalesced`` for a request that joins another one's call (``into``: its id).

    One difference between readers shows in when chunks come, not in what comes: as long as all of them read their
    answers to the end in one go (``await response.read()``, as the lab's users do) the call is waited for in one piece;
    one that iterates makes it come chunk by chunk, from the next read of the upstream on. A limit that passes while
    it is waited for in one piece finds no tokens delivered.

    Examples
    --------
    >>> SingleFlight(scope="user").cacheable
    'unsampled'
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    scope: Scope = "tenant"
    cacheable: Cacheable = "unsampled"
    on_failure: Literal["share", "alone"] = "share"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check_question("single_flight", self.scope, self.cacheable)
        if self.on_failure not in _ON_FAILURE:
            raise ValueError(f"unknown on_failure {self.on_failure!r}; write {' or '.join(_ON_FAILURE)}")

    def start(self, run: Run) -> Handler:
        """Fresh state: nothing in flight."""
        return _SingleFlightHandler(self, run)


class _SingleFlightHandler:
    __slots__ = ("_flights", "_key")

    def __init__(self, spec: SingleFlight, run: Run) -> None:
        self._key = QuestionKey(spec.scope, spec.cacheable)
        self._flights = Flights(run, alone=spec.on_failure == "alone")

    @property
    def flights(self) -> dict[Hashable, Flight]:
        """Those that can be joined."""
        return self._flights.open

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        question = self._key(request)
        if question is None:
            return await call_next(request)
        return await self._flights.call((question, request.stream), request, call_next)
