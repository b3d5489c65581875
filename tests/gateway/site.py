"""A started gateway in front of toy providers, for tests to play with."""

from gateway.policies.toys import Toy, ask

from llmsim.engine.driver import simulate
from llmsim.gateway.contract import policy
from llmsim.gateway.pipeline import Gateway
from llmsim.stores import LiveStores


class Site:
    """A started gateway in front of toy providers, with what was noted about it."""

    def __init__(self, gateway, *providers, seed=3, stores=None):
        self.providers = {provider.name: provider for provider in providers or (Toy(),)}
        self.attempts, self.events = [], []
        self.running = Gateway.of(gateway).open(
            list(self.providers.values()),
            on_attempt=self.attempts.append,
            on_event=lambda kind, fields: self.events.append((kind, fields)),
            seed=seed,
            stores=stores or LiveStores(),
        )

    async def send(self, request=None, exchange=None):
        """Send and read to the end: the response."""
        response = await self.running.send(request or ask(), exchange)
        await response.read()
        return response

    def causes(self):
        return [(attempt.number, attempt.cause, attempt.upstream, attempt.outcome) for attempt in self.attempts]


def play(script):
    """Run ``await script()`` in virtual time."""
    return simulate(lambda loop: script(), event_budget=200_000)


def trace(name, log):
    """A policy that notes when it is entered and left."""

    @policy
    async def tracing(request, call_next):
        log.append(f"+{name}")
        try:
            return await call_next(request)
        finally:
            log.append(f"-{name}")

    return tracing
