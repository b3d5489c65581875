"""A gateway with one weakness that no single fault shows, written as one writes such a thing at work.

It survives whatever happens to one provider, and nearly whatever happens to both: it goes from one to the other, and
waits in between. But somebody added a shortcut. Answers that fall silent are fetched from the second provider at once,
and a 429 from there that says when to come back is passed on to the caller. So a stall alone is harmless, and so is a
quota cut.
"""

import asyncio

from llmsim import GatewayError
from llmsim.errors import RateLimited
from llmsim.gateway.whole import read_whole

SILENCE_S = 2.0
ROUNDS = 30


async def gateway(request, providers):
    """First choice, then second, then both again until one answers."""
    primary, secondary = providers.values()
    for _ in range(ROUNDS):
        for provider in (primary, secondary):
            try:
                return await fetch(provider, request)
            except TimeoutError:
                if provider is primary:
                    return await shortcut(secondary, request)
            except GatewayError:
                """The other one, then."""
        await asyncio.sleep(2.0)
    return await fetch(primary, request)


async def shortcut(provider, request):
    """A user has seen the beginning of the answer: no time to lose."""
    for _ in range(ROUNDS):
        try:
            return await fetch(provider, request)
        except RateLimited as limited:
            if limited.retry_after_s is not None:
                raise
        except (GatewayError, TimeoutError):
            """Once more."""
        await asyncio.sleep(2.0)
    return await fetch(provider, request)


async def fetch(provider, request):
    """The whole answer, unless it falls silent."""
    async with asyncio.timeout(SILENCE_S):
        response = await provider.send(request)
    return await read_within(response)


async def read_within(response):
    async with asyncio.timeout(SILENCE_S):
        return await read_whole(response)
