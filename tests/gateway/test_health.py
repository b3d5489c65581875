"""What policies that refuse tell those that choose."""

import asyncio
import dataclasses
from math import inf

import pytest
from gateway.policies.toys import Toy, World, ask
from gateway.site import Site, play

from llmsim.errors import ServerError
from llmsim.gateway.contract import current_run, policy
from llmsim.gateway.health import Health
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker

BREAKER = CircuitBreaker(minimum_calls=2, wait_in_open=15.0, permitted_in_half_open=1)


def test_the_latest_of_all_posts_counts_and_each_policy_can_take_its_own_back():
    health = Health()
    health.refuse("a", "breaker", 10.0)
    health.refuse("a", "cooldown", 20.0)
    assert (health.refused_until_s("a"), health.refused_until_s("b")) == (20.0, -inf)
    health.refuse("a", "cooldown", -inf)
    assert health.refused_until_s("a") == 10.0
    health.refuse("a", "breaker", -inf)
    assert health.refused_until_s("a") == -inf


def test_a_run_of_its_own_has_a_board_of_its_own():
    world = World()
    handlers = [world.start(BREAKER, "a") for _ in range(2)]
    assert handlers[0]._run.health is not handlers[1]._run.health


@policy
async def around_the_refused(request, call_next):
    """The whole seam, as a routing policy uses it."""
    run = current_run()
    healthy = [name for name in run.upstreams if run.health.refused_until_s(name) <= run.now()]
    return await call_next(request.to((healthy or run.upstreams)[0]))


@pytest.mark.parametrize(("shared", "failures"), [(False, 4), (True, 2)])
def test_a_router_goes_around_an_open_breaker_and_comes_back_when_it_would_probe(shared, failures):
    """Two failures open a breaker: one breaker for both replicas, or one each, and each board knows its own."""
    breaker = dataclasses.replace(BREAKER, shared=shared)

    async def main():
        a, b = Toy(*[ServerError()] * failures, 0.0), Toy(name="b")
        site = Site(Gateway(policies=(around_the_refused,), upstream=(breaker,), replicas=2), a, b)
        for _ in range(failures):
            with pytest.raises(ServerError):
                await site.send(ask())
        answered = [(await site.send(ask())).upstream for _ in range(4)]
        await asyncio.sleep(15.0)
        answered += [(await site.send(ask())).upstream for _ in range(4)]
        assert answered == ["b"] * 4 + ["a"] * 4
        assert len(a.calls) == failures + 4  # nobody ran into a refusal

    play(main)
