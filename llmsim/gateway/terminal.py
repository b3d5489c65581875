"""The end of a gateway's chain: where a request leaves it for a provider."""

from __future__ import annotations

from llmsim.errors import StreamBroken
from llmsim.gateway.checked import TOLL
from llmsim.gateway.contract import Provider, Runtime, Toll
from llmsim.gateway.exchange import Attempt, Tickets, current_exchange
from llmsim.types import Request, Response, Usage

__all__ = ["Terminal", "is_toll"]


class Terminal:
    """The innermost link: one call to one provider, accounted for."""

    __slots__ = ("_cancelled_usage", "_model", "_name", "_now", "_send", "tolls")

    def __init__(self, provider: Provider, runtime: Runtime) -> None:
        self._send = provider.send
        self._cancelled_usage = provider.cancelled_usage
        self._name = provider.name
        self._model: str = getattr(provider, "model", "")
        self._now = runtime.now
        self.tolls: list[Toll] = []

    async def send(self, request: Request) -> Response:
        """Call the provider, after every toll has let the request pass."""
        exchange = current_exchange.get()
        tickets = self._pay(request) if self.tolls else None
        attempt = Attempt(exchange, self._name, request.model or self._model, self._now())
        attempt.tickets = tickets
        try:
            response = await self._send(request)
        except BaseException as error:
            # A call that is not streamed breaks here too: what had been made is billed as that of a stream is.
            unbilled = isinstance(error, Exception) and not isinstance(error, StreamBroken)
            usage = Usage() if unbilled else self._cancelled_usage(request)
            attempt.failed(error, usage)
            raise
        attempt.answered(response, self._now())
        return response

    def _pay(self, request: Request) -> Tickets:
        tickets: Tickets = []
        try:
            for toll in self.tolls:
                tickets.append((toll, toll.before_attempt(request, self._name)))
        except BaseException:
            for toll, ticket in tickets:
                toll.after_attempt(ticket, None)
            raise
        return tickets


def is_toll(handler: object) -> bool:
    """Whether a handler wants to be asked before, and told after, every call to an upstream."""
    return all(callable(getattr(handler, method, None)) for method in TOLL)
