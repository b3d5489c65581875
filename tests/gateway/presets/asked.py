"""What a preset does with one request: when it calls whom."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.error_words import error_kind
from llmsim.errors import GatewayError
from llmsim.gateway.policies import preset


def failed(status, **fields):
    """The error for an answer with this status."""
    return error_kind(status)(status=status, **fields)


def upstreams(scripts, **toy):
    """Toys called a, b, …; a script is what `Toy` takes: the n-th call gets its n-th item."""
    return [Toy(*script, name=chr(ord("a") + number), **toy) for number, script in enumerate(scripts)]


async def on_this_loop(name, *scripts, seed):
    """When one request called whomever."""
    toys = upstreams(scripts)
    await _sent(Site(preset(name), *toys, seed=seed), 0)
    return sorted(at for toy in toys for at in toy.times)


def played(name, *scripts, seed=3, request=None, **toy):
    """(calls as (time, upstream), answer or error, seconds it took, site) of one request to upstreams a, b, …."""
    toys = upstreams(scripts, **toy)

    async def main():
        site = Site(preset(name), *toys, seed=seed)
        loop = asyncio.get_running_loop()
        try:
            answer = await site.send(request or ask())
        except (GatewayError, TimeoutError) as error:
            answer = error
        calls = sorted((at, toy.name) for toy in toys for at, _ in toy.calls)
        return calls, answer, loop.time(), site

    return play(main)


def times(name, *script, **more):
    """When the one upstream was called."""
    return [at for at, _ in played(name, script, **more)[0]]


def waits(name, *script, seeds=60, **more):
    """The n-th waits of so many requests, each with its own luck: [(first of all), (second of all), …].

    Answers take no time, so that calls are apart by what was waited.
    """
    rows = []
    for seed in range(seeds):
        at = times(name, *script, seed=seed, **more)
        rows.append([later - earlier for earlier, later in pairwise(at)])
    assert len({len(row) for row in rows}) == 1, "not every request made as many calls"
    return list(zip(*rows, strict=True))


def within(found, low, high):
    """All inside, and spread over it: no constant passes for a draw, and no half of the interval for all of it."""
    assert low - 1e-9 <= min(found) and max(found) <= high + 1e-9, (min(found), max(found))
    span = high - low
    # Of 60 uniform draws none in the outer fifth has probability .8^60 = 1.5e-6.
    assert min(found) < low + 0.2 * span and max(found) > high - 0.2 * span, (min(found), max(found))


async def _sent(site, number):
    try:
        await site.send(ask(number))
    except GatewayError:
        pass


def calls_of(name, script, requests, *, together=False, delay_s=0.0, seed=3):
    """How many calls so many requests make, one after the other or all at one instant."""

    async def main():
        toy = Toy(*script, delay_s=delay_s)
        site = Site(preset(name), toy, seed=seed)
        if together:
            await asyncio.gather(*(_sent(site, number) for number in range(requests)))
        else:
            for number in range(requests):
                await _sent(site, number)
        return len(toy.calls)

    return play(main)


def opened(name, script):
    """How often the breaker of an upstream opened while calls to it, without retries, went by this script."""

    async def main():
        site = Site(replace(preset(name), policies=()), Toy(*script))
        for number in range(len(script)):
            await _sent(site, number)
        return sum(kind == "circuit_breaker" and fields["state"] == "open" for kind, fields in site.events)

    return play(main)


def ejections(*scripts, requests, every_s):
    """Lengths of the outlier ejections of Envoy's hosts."""

    async def main():
        site = Site(preset("envoy"), *upstreams(scripts))
        for number in range(requests):
            if every_s:
                await asyncio.sleep(every_s)
            await _sent(site, number)
        return [fields["for_s"] for kind, fields in site.events if kind == "outlier_ejection"]

    return play(main)


def until_refused(name, script, *, seed):
    """How many calls are sent until the first is refused before it is sent."""

    async def main():
        toy = Toy(*script)
        site = Site(preset(name), toy, seed=seed)
        for number in range(1000):
            await _sent(site, number)
            if any(kind == "rejected" for kind, _ in site.events):
                return len(toy.calls)
        raise AssertionError("none was refused")

    return play(main)
