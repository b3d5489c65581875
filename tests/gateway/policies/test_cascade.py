"""The cheap one first; on to the better one where its answer will not do."""

import asyncio

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.errors import BadRequest, PolicyError, ServerError, StreamBroken
from llmsim.gateway.policies import Cascade, Fallback, StructuredOutput
from llmsim.pricing import TokenPrice
from llmsim.providers.sim.outputs import Output
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Traffic

SCHEMA = '{"type": "object", "required": ["answer"]}'


def reasons(site):
    return [fields["reason"] for kind, fields in site.events if kind == "cascade"]


def cascade(cheap, dear=None, request=None, **settings):
    """(upstream that answered, why it went on, causes of attempts)."""

    async def script():
        site = Site([Cascade(order=("cheap", "dear"), **settings)], cheap, dear or Toy(["fine"], name="dear"))
        response = await site.send(request)
        return response.upstream, reasons(site), [(attempt.cause, attempt.won) for attempt in site.attempts]

    return play(script)


def cheap(*script, **more):
    return Toy(*script, name="cheap", **more)


FIRST, BOTH = [("first", True)], [("first", False), ("fallback", True)]


def test_an_answer_that_will_do_is_handed_out_whole():
    assert cascade(cheap(["fi", "ne"])) == ("cheap", [], FIRST)


@pytest.mark.parametrize(
    ("toy", "fields", "settings", "reason"),
    [
        (cheap(["no"], finish_reason="refusal"), {}, {"refusal": False}, "refusal"),
        (cheap(["fi"], finish_reason="length"), {}, {"cut": False}, "cut"),
        (cheap(["fine"]), {"response_schema": SCHEMA}, {"json": False}, "json"),
        (cheap(["f", "i"]), {}, {"min_tokens": 2}, "short"),
        (cheap([ServerError()]), {}, {}, ""),
    ],
)
def test_why_it_goes_on(toy, fields, settings, reason):
    toy = Toy(*toy._script, name="cheap", finish_reason=toy._finish_reason)
    again = Toy(*toy._script, name="cheap", finish_reason=toy._finish_reason)
    request = ask(**fields)
    if reason == "short":
        assert cascade(toy, request=request, min_tokens=3) == ("dear", ["short"], BOTH)
    elif reason:
        assert cascade(toy, request=request) == ("dear", [reason], BOTH)
    if settings:
        assert cascade(again, request=request, **settings)[:2] == ("cheap", [])


@pytest.mark.parametrize("item", [ServerError(), ["x", StreamBroken()]])
def test_errors_too_before_and_in_the_middle_of_the_answer(item):
    where, why, _ = cascade(cheap(item))
    assert (where, why) == ("dear", ["server_error" if isinstance(item, ServerError) else "stream_broken"])


def test_other_errors_go_out():
    with pytest.raises(BadRequest):
        cascade(cheap(BadRequest()))


def test_a_judge_of_ones_own():
    seen = []

    def accept(request, text, response):
        seen.append((request.id, text, response.upstream))
        return "sure" not in text

    assert cascade(cheap(["not", " sure"]), accept=accept) == ("dear", ["not_accepted"], BOTH)
    assert seen == [("0/0/0", "not sure", "cheap")]

    def broken(request, text, response):
        raise KeyError("oops")

    with pytest.raises(PolicyError, match="accept raised KeyError"):
        cascade(cheap(["x"]), accept=broken)


def test_all_but_the_last_are_buffered_and_the_last_one_streams():
    async def script():
        dear = Toy(["a", "b"], name="dear", gap_s=1.0)
        site = Site([Cascade(order=("cheap", "dear"))], cheap(["no"], finish_reason="refusal", gap_s=2.0), dear)
        start = asyncio.get_running_loop().time()
        response = await site.running.send(ask())
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.0)  # the end of the cheap one
        assert dear.open_streams
        await response.read()

    play(script)


def test_a_request_that_names_an_upstream_is_not_cascaded():
    async def script():
        site = Site([Cascade(order=("cheap", "dear"))], cheap(["x"]), Toy(["fine"], name="dear"))
        assert (await site.send(ask(upstream="dear"))).upstream == "dear"

    play(script)


def test_a_fallback_inside_that_went_further_up_is_not_asked_again():
    async def script():
        dear = Toy(["no"], name="dear", finish_reason="refusal")
        policies = [Cascade(order=("cheap", "dear")), Fallback(order=("cheap", "dear"))]
        site = Site(policies, cheap(ServerError()), dear)
        assert (await site.send()).upstream == "dear"
        assert len(dear.calls) == 1
        assert not reasons(site)

    play(script)


def test_repair_inside_saves_an_escalation():
    async def script():
        policies = [Cascade(order=("cheap", "dear")), StructuredOutput(max_attempts=1)]
        for text, where in (('```{"answer": 1}```', "cheap"), ('{"answer": "y', "dear")):
            site = Site(policies, cheap([text]), Toy(['{"answer": 2}'], name="dear"))
            assert (await site.send(ask(response_schema=SCHEMA))).upstream == where
            assert reasons(site) == ([] if where == "cheap" else ["bad_output"])

    play(script)


def test_a_caller_who_leaves_closes_what_is_being_read():
    async def script():
        toy = cheap(["a", "b"], gap_s=5.0)
        site = Site([Cascade(order=("cheap", "dear"))], toy, Toy(name="dear"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await site.running.send(ask())
        assert not toy.open_streams
        assert [attempt.outcome for attempt in site.attempts] == ["cancelled"]

    play(script)


def test_what_it_costs_is_cheap_plus_the_share_that_escalates():
    """cheap + e x dear, by the closed form: 30 % of the cheap model's answers are refusals of 24 tokens."""
    price, dearer = TokenPrice(input=1e-6, output=1e-6), TokenPrice(input=1e-5, output=1e-5)
    share, count = 0.3, 0
    scenario = ls.Scenario(
        version=1,
        replications=1,
        clock=Clock(duration=100.0),
        traffic=Traffic(base_rate=10.0, mix=(Route(input_tokens=Constant(100), output_tokens=Constant(50)),)),
        providers={
            "mini": SimProvider(ttft=Constant(0.1), price=price, output=Output(refusals=share)),
            "large": SimProvider(ttft=Constant(0.1), price=dearer),
        },
        gateway=ls.Gateway(policies=(Cascade(order=("mini", "large")),)),
    )
    result = ls.run(scenario)
    count, cost = result.requests.height, result.metrics["cost_usd"]
    went_on = (result.requests["served_by"] == "large").sum()
    assert went_on / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)
    assert cost["retry"] == pytest.approx(went_on * 124e-6)
    assert cost["total"] == pytest.approx((count - went_on) * 150e-6 + went_on * (124e-6 + 1500e-6))
    assert (result.requests["outcome"] == "ok").all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": ("a",)}, "two upstreams"),
        ({"order": ("a", "a")}, "twice"),
        ({"order": ("a", "b"), "accept": "yes"}, "a Python function"),
        ({"order": ("a", "b"), "on": ("bad",)}, "unknown error word"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Cascade(**fields)


def test_an_unknown_upstream_is_named():
    async def script():
        with pytest.raises(PolicyError, match="unknown upstream 'chep' in order; did you mean 'cheap'"):
            Site([Cascade(order=("chep", "dear"))], cheap(), Toy(name="dear"))

    play(script)
