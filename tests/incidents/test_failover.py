"""Who is asked when the first one will not have it."""

import pytest
from incidents.judging import judged

import llmsim as ls
from llmsim.errors import ConnectionFailed, GatewayError
from llmsim.gateway.policies import Fallback, Routing

DOWN = {
    "clock": {"duration": "20s", "drain": "30s"},
    "providers": {"a": {"ttft": "200ms"}, "b": {"ttft": "200ms"}},
    "faults": [
        {"name": "a-down", "provider": "a", "at": "5s", "duration": "10s", "abort": {"status": 500}},
        {"name": "b-down", "provider": "b", "at": "5s", "duration": "10s", "abort": {"status": 500}},
    ],
    "slo": {"retry_amplification": ["max < 4"]},
}


@ls.policy
async def every_fallback_starts_the_cycle_again(request, call_next):
    """Each group runs its whole cycle of retries, and the fallback of the fallback is the first group again.

    BerriAI/litellm#19985: a fallback resets the retry cycle, and everything is executed again.
    """

    async def group(upstreams, fallbacks_left):
        for upstream in upstreams:
            for _ in range(3):
                try:
                    return await call_next(request.to(upstream))
                except GatewayError as error:
                    last = error
        if fallbacks_left:
            return await group(upstreams[::-1], fallbacks_left - 1)
        raise last

    return await group(["a", "b"], 1)


def test_a_fallback_that_multiplies_the_cycle():
    red = judged(DOWN, [every_fallback_starts_the_cycle_again])
    green = judged(DOWN, [Fallback(), Routing(strategy="ordered")])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert red.requests["attempts"].max() == 12
    assert green.requests["attempts"].max() == 2


LIMITED = {
    "providers": {
        "first": {"dialect": "openai", "ttft": "200ms", "rate_limit": {"requests": "30/min"}},
        "second": {"ttft": "200ms"},
    },
    "faults": [{"name": "busy", "provider": "first", "at": "10s", "duration": "10s", "abort": {"status": 503}}],
    "clock": {"warm_up": "30s", "duration": "30s", "drain": "30s"},
    "slo": {"error_rate": ["value < 1%"]},
}


@ls.policy
async def next_priority_when_unreachable(request, call_next):
    """Priorities that follow health in the sense of a connection: a 429 or 503 is an answer, so it is passed on.

    kgateway-dev/kgateway#11116, agentgateway#1087, api7/aisix#46, alibaba/higress#2159.
    """
    try:
        return await call_next(request.to("first"))
    except ConnectionFailed:
        return await call_next(request.to("second"))


@pytest.mark.slow
def test_a_429_that_does_not_move_to_the_next_priority():
    red = judged(LIMITED, [next_priority_when_unreachable])
    assert red.verdict == "FAIL"
    assert set(red.requests["outcome"].unique()) == {"ok", "rate_limited", "overloaded"}
    reacting = judged(LIMITED, [Fallback(order=("first", "second"))])
    ahead = judged(LIMITED, [Fallback(), Routing(strategy="priority", groups=(("first",), ("second",)))])
    assert (reacting.verdict, ahead.verdict) == ("PASS", "PASS")
    # The priority that reads the headers does not even ask for what it will be refused.
    refused = {name: (result.attempts["outcome"] == "rate_limited").sum()
               for name, result in {"reacting": reacting, "ahead": ahead}.items()}  # fmt: skip
    assert refused["ahead"] < refused["reacting"] / 10


KEYS = {
    "providers": {
        **{f"key{number}": {"ttft": "200ms", "errors": {"quota": "100%"}} for number in (1, 2, 3, 4)},
        "key5": {"ttft": "200ms"},
    },
    "slo": {"error_rate": ["value < 1%"]},
}


@ls.policy
async def rotates_within_max_retries(request, call_next):
    """maximhq/bifrost#5876: the rotation over keys is bounded by max_retries, and fails with healthy keys left."""
    for number in (1, 2, 3, 4, 5)[: 1 + 2]:
        try:
            return await call_next(request.to(f"key{number}"))
        except GatewayError as error:
            last = error
    raise last


@pytest.mark.slow
def test_a_rotation_that_ends_before_the_keys_do():
    red = judged(KEYS, [rotates_within_max_retries])
    green = judged(KEYS, [Fallback(), Routing(strategy="weighted")])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert green.requests["served_by"].unique().to_list() == ["key5"]
    # The first choice is the one drawn: all five, and four in five of the requests fell back.
    assert sorted(green.requests["first_choice"].unique()) == [f"key{number}" for number in (1, 2, 3, 4, 5)]
    assert 0.7 < green.metrics["fallback_rate"] < 0.9
