"""What everything that stands in front of a provider has in common: it is called as that is, and passes on the rest."""

from __future__ import annotations

from llmsim.errors import StreamBroken
from llmsim.gateway.contract import Provider
from llmsim.types import Request, Response, Usage, WholeAnswer

__all__ = ["Wrapped"]


class Wrapped:
    """A provider in front of another; a subclass has the `send`.

    Parameters
    ----------
    inner
        The other one.
    """

    def __init__(self, inner: Provider) -> None:
        self.name = inner.name
        self.model: str = getattr(inner, "model", "")
        self.context_window: int | None = getattr(inner, "context_window", None)
        self._inner = inner
        self._cancelled: dict[str, Usage] = {}  # of answers in one piece that were cut off here, by request

    def cancelled_usage(self, request: Request) -> Usage:
        """Of what was cut off here, as far as anybody told; else as the other one says."""
        usage = self._cancelled.pop(request.id, None)
        return self._inner.cancelled_usage(request) if usage is None else usage

    async def aclose(self) -> None:
        """Close the other one."""
        await self._inner.aclose()

    async def in_one_piece(self, request: Request, response: Response) -> Response:
        """The whole of a streamed answer, for one who did not ask for a stream.

        Raises
        ------
        StreamBroken
            It broke: who asked for it in one piece was given nothing.
        """
        try:
            text = await response.read()
        except BaseException as error:
            self._cancelled[request.id] = response.usage
            if isinstance(error, StreamBroken):
                raise StreamBroken(str(error), upstream=response.upstream, status=response.status) from None
            raise
        return Response(
            WholeAnswer(text, response.tokens_delivered, response.usage, response.finish_reason),
            upstream=response.upstream,
            model=response.model,
            headers=response.headers,
            parents=(response,),
            queue_s=response.queue_s,
        )
