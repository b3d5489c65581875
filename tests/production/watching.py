"""Gateways that are watched: requests, their record, and the collector that is told."""

import contextlib

from loopback import LoopbackServer

import llmsim as ls
from llmsim.pricing import TokenPrice
from llmsim.production import OpenTelemetry
from llmsim.types import Message, Request

KEY = "sk-live-0123456789abcdef"
PROMPT, ANSWER = "what is my salary", "forty-two"
PRICE = TokenPrice(input=1e-3, output=1e-2)


def ask(number=0, **fields):
    return Request(f"r{number}", messages=(Message("user", PROMPT),), **fields)


class Record:
    """What happened, by the gateway's own callbacks."""

    def __init__(self):
        self.attempts, self.events = [], []

    def event(self, kind, fields):
        self.events.append((kind, fields))

    def attempt(self, one):
        self.attempts.append(one)


@contextlib.asynccontextmanager
async def watched(collector, gateway, *scripts, **options):
    """A gateway in front of servers a, b, …, told to the collector; its record beside it."""
    record = Record()
    async with contextlib.AsyncExitStack() as stack:
        telemetry = OpenTelemetry.otlp(collector.url, service_name="shop", **options)
        await stack.enter_async_context(telemetry)
        servers = [await stack.enter_async_context(LoopbackServer(script)) for script in scripts]
        providers = [
            await stack.enter_async_context(
                ls.OpenAIChat(name, base_url=one.url, model=f"m-{name}", api_key_env="SOME_KEY", price=PRICE)
            )
            for name, one in zip("abc", servers, strict=False)
        ]
        running = await stack.enter_async_context(
            gateway.open(providers, telemetry=telemetry, on_event=record.event, on_attempt=record.attempt, seed=1)
        )
        yield running, record
        assert running.watch.under_way == 0, "a span was not ended"


async def answer(running, request):
    """The text, or the error's word."""
    try:
        return await (await running.send(request)).read()
    except ls.GatewayError as error:
        return error.word


RETRYING = ls.Gateway(
    policies=(
        ls.Fallback(order=("a", "b")),
        ls.Retry(max_attempts=2, backoff=ls.policies.Backoff(initial=0.01, jitter="none")),
    )
)
