"""Answers that are read to their end before anybody gets them."""

from __future__ import annotations

from llmsim.types import Response, WholeAnswer

__all__ = ["read_whole", "whole"]


def whole(response: Response, text: str, finish_reason: str = "") -> Response:
    """A response that was read to its end, as one that the caller can read (with another text, where given)."""
    tokens, usage = response.tokens_delivered, response.usage
    return Response(
        WholeAnswer(text, tokens, usage, finish_reason or response.finish_reason or "stop"),
        upstream=response.upstream,
        model=response.model,
        served_from=response.served_from,
        status=response.status,
        headers=response.headers,
        parents=(response,),
        queue_s=response.queue_s,
        origin=response.origin,
    )


async def read_whole(response: Response) -> Response:
    """The same answer, read to its end; raises what it breaks with."""
    return whole(response, await response.read())
