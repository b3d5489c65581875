"""Policies of one's own, and what they can reach."""

import asyncio
import dataclasses

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import RateLimited
from llmsim.gateway.contract import FunctionPolicy, current_run, policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Fallback, Retry, Timeout


def test_a_function_policy_reaches_its_run():
    @policy
    async def outer(request, call_next):
        before = current_run().name
        response = await call_next(request)
        assert current_run().name == before == "outer", "what is further in has a run of its own"
        return response

    @policy
    async def inner(request, call_next):
        run = current_run()
        run.emit("seen", request, luck=run.luck("mine", request))
        task = asyncio.ensure_future(call_next(request))
        return await task

    async def script():
        with pytest.raises(LookupError, match="current_run"):
            current_run()
        site = Site(Gateway(policies=(outer,), upstream=(inner,)))
        await site.send()
        kind, fields = site.events[0]
        return kind, fields["policy"], fields["upstream"], 0 < fields["luck"] < 1

    assert play(script) == ("seen", "inner", "a", True)


def test_concurrent_requests_do_not_mix_their_runs():
    @policy
    async def slow(request, call_next):
        await asyncio.sleep(int(request.id.split("/")[0]) % 3)
        current_run().emit("ran", request, upstream_seen=current_run().upstream)
        return await call_next(request)

    async def script():
        site = Site(Gateway(upstream=(slow,)), Toy(name="a"), Toy(name="b"))
        await asyncio.gather(*(site.send(ask(n).to("ab"[n % 2])) for n in range(20)))
        assert len(site.events) == 20
        for _, fields in site.events:
            assert fields["upstream_seen"] == "ab"[int(fields["request_id"].split("/")[0]) % 2]
        for attempt in site.attempts:
            assert attempt.upstream == "ab"[int(attempt.exchange.request.id.split("/")[0]) % 2]

    play(script)


def test_luck_belongs_to_policy_purpose_request_and_upstream_and_not_to_the_order():
    def draws(order):
        @policy
        async def draw(request, call_next):
            run = current_run()
            run.emit("luck", request, value=[run.luck("p", request), run.luck("p", request, 1), run.luck("q", request)])
            return await call_next(request)

        async def script():
            site = Site(Gateway(policies=(draw,), upstream=(draw,)), Toy(name="a"), Toy(name="b"))
            for number, upstream in order:
                await site.send(ask(number).to(upstream))
            return {(f["request_id"], f["upstream"]): tuple(f["value"]) for _, f in site.events}

        return play(script)

    one = draws([(0, "a"), (1, "b"), (2, "a")])
    assert one == draws([(2, "a"), (0, "a"), (1, "b")])
    values = [value for row in one.values() for value in row]
    assert len(set(values)) == len(values) == 18


def test_policy_on_a_class_makes_a_frozen_spec_known_by_its_name():
    @policy
    class OnlyShortOnes:
        limit: int = 100

        def start(self, run):
            async def handle(request, call_next):
                if request.input_tokens > self.limit:
                    raise RateLimited(f"{run.name}: too long")
                return await call_next(request)

            return handle

    from llmsim.gateway.registry import policy_kinds

    assert OnlyShortOnes(limit=5) == OnlyShortOnes(limit=5)
    assert policy_kinds()["only_short_ones"] is OnlyShortOnes
    with pytest.raises(dataclasses.FrozenInstanceError):
        OnlyShortOnes().limit = 3

    async def script():
        site = Site([OnlyShortOnes(limit=5)])
        await site.send(ask()._replace(input_tokens=5))
        with pytest.raises(RateLimited, match="only_short_ones: too long"):
            await site.send(ask()._replace(input_tokens=6))

    play(script)


def test_policy_refuses_what_is_none():
    with pytest.raises(TypeError, match=r"needs a method start\(self, run\)"):

        @policy
        class Nothing:
            pass

    with pytest.raises(TypeError, match="async function or a class"):
        policy(7)


def test_a_function_stays_callable_and_needs_no_decorator():
    async def plain(request, call_next):
        return await call_next(request._replace(tenant="t"))

    decorated = policy(plain)
    assert isinstance(decorated, FunctionPolicy)
    assert decorated.name == "plain"

    async def script():
        toy = Toy()
        await Site([plain], toy).send()
        assert toy.calls[0][1].tenant == "t"

        async def inner(request):
            return request.tenant

        assert await decorated(ask(), inner) == "t"

    play(script)


def test_a_gateway_value_can_be_copied_compared_and_started_many_times():
    gateway = Gateway(policies=(Retry(), Fallback(order=("a",))), upstream=(Timeout(ttft=1.0),), replicas=2)
    assert gateway == dataclasses.replace(gateway)
    assert gateway != dataclasses.replace(gateway, replicas=3)
    assert hash(gateway) == hash(dataclasses.replace(gateway))
