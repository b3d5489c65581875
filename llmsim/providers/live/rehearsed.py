"""Requests of the lab, as a live model can answer them: the prompt in words, and an answer as long as it should be."""

from __future__ import annotations

from typing import Any

from llmsim.gateway.contract import Provider
from llmsim.providers.wrapped import Wrapped
from llmsim.traffic.speech import TEMPLATE_TOKENS, spoken
from llmsim.traffic.truth import World
from llmsim.types import Chunk, Limits, Request, Response, Usage

__all__ = ["Rehearsed"]


class Rehearsed(Wrapped):
    """A live provider for the requests of a scenario.

    Policies see what they see in the lab. What is added stands behind them: the text of the prompt
    (`llmsim.traffic.speech`), and as ``max_tokens`` the length of the answer that the scenario has drawn. An answer
    that ends there has ended (``stop``), unless the request itself allowed no more.

    Parameters
    ----------
    inner
        The live provider.
    world
        What is true about requests.
    verbatim
        Prompts are sent as they are: the scenario has the users' own (``topics: {prompts: FILE}``).
    template_tokens
        What the model's chat template adds to a prompt.
    """

    def __init__(
        self, inner: Provider, world: World, *, verbatim: bool = False, template_tokens: int = TEMPLATE_TOKENS
    ) -> None:
        super().__init__(inner)
        self._world = world
        self._verbatim = verbatim
        self._template_tokens = template_tokens

    async def send(self, request: Request) -> Response:
        """As `inner`, for the request in words."""
        drawn = max(self._world.truth(request).output_tokens, 1)
        allowed = request.max_tokens
        capped = allowed is None or drawn < allowed
        messages = request.messages if self._verbatim else spoken(request, self._template_tokens)
        answer = await self._inner.send(request._replace(messages=messages, max_tokens=drawn if capped else allowed))
        if not capped:
            return answer
        return Response(
            _Ended(answer),
            upstream=answer.upstream,
            model=answer.model,
            status=answer.status,
            headers=answer.headers,
            parents=(answer,),
            queue_s=answer.queue_s,
        )


class _Ended:
    """A stream whose ``length`` is a ``stop``."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Response) -> None:
        self._inner = inner

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    @property
    def finish_reason(self) -> str:
        reason = self._inner.finish_reason
        return "stop" if reason == "length" else reason

    @property
    def longest_gap_s(self) -> float:
        return self._inner.longest_gap_s

    @property
    def timings(self) -> Any:
        return self._inner.timings

    def close(self) -> None:
        self._inner.close()

    async def next(self, limits: Limits) -> Chunk | None:
        self._inner.limit(gap_s=limits.gap_s, until_s=limits.until_s, late=limits.late)
        return await anext(self._inner, None)

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self.next(limits)
