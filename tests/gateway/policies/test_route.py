"""Who is chosen, and that the books are right whatever becomes of a call."""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import CircuitOpen, RateLimited, ServerError
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Backoff, CircuitBreaker, Fallback, Retry, Routing
from llmsim.pricing import TokenPrice
from llmsim.types import Message, Response, Usage, WholeAnswer


def toys(*scripts, **fields):
    return [Toy(script, name=name, **fields) for name, script in zip("abcd", scripts, strict=False)]


def through(policies, *providers, upstream=(), requests=1, each=None, seed=3, gap_s=0.0):
    """Requests one after the other: (upstreams that answered or errors, site)."""

    async def script():
        site = Site(Gateway(policies=tuple(policies), upstream=tuple(upstream)), *providers, seed=seed)
        answers = []
        for number in range(requests):
            try:
                response = await site.send(each(number) if each else ask(number))
                answers.append(response.upstream)
            except Exception as error:
                answers.append(error)
            if gap_s:
                await asyncio.sleep(gap_s)
        assert all(not toy.open_streams for toy in providers)
        return answers, site

    return play(script)


def said(events):
    return [(kind, fields["from"], fields["to"]) for kind, fields in events]


class Watched:
    """A route whose handler can be looked at."""

    def __init__(self, spec):
        self.spec = spec
        self.handlers = []

    def start(self, run):
        self.handlers.append(self.spec.start(run))
        return self.handlers[-1]


def test_weighted_shares_and_the_first_choice_is_the_one_drawn():
    providers = toys(0.0, 0.0, gap_s=0.0)

    async def script():
        site = Site([Routing(strategy="weighted", weights={"a": 3, "b": 1})], *providers)
        first = Counter()
        for number in range(400):
            exchange = Exchange(ask(number), site.running._runtime)
            response = await site.send(ask(number), exchange)
            assert exchange.first_choice == response.upstream
            assert exchange.fallbacks == 0
            first[response.upstream] += 1
        return first

    shares = play(script)
    assert abs(shares["a"] - 300) < 4 * (400 * 0.75 * 0.25) ** 0.5


def test_a_refused_pick_is_not_picked_again_by_the_retry_outside():
    retry = Retry(max_attempts=3, backoff=Backoff(initial=0.1, jitter="none"))
    answers, site = through([retry, Routing()], *toys(ServerError(), ServerError(), 0.0), requests=30)
    assert answers == ["c"] * 30
    tried = {}
    for attempt in site.attempts:
        tried.setdefault(attempt.exchange.request.id, []).append(attempt.upstream)
    assert all(len(set(upstreams)) == len(upstreams) for upstreams in tried.values())


def test_when_all_have_been_tried_it_asks_another_than_the_last():
    retry = Retry(max_attempts=6, backoff=Backoff(initial=0.1, jitter="none"))
    (error,), site = through([retry, Routing()], *toys(ServerError(), ServerError()))
    assert isinstance(error, ServerError)
    upstreams = [attempt.upstream for attempt in site.attempts]
    assert len(upstreams) == 6
    assert all(one != other for one, other in pairwise(upstreams))


def test_a_retry_inside_stays_with_the_choice():
    retry = Retry(max_attempts=3, backoff=Backoff(initial=0.1, jitter="none"))
    _, site = through([Routing(), retry], *toys(ServerError(), ServerError()))
    assert len({attempt.upstream for attempt in site.attempts}) == 1
    assert len(site.attempts) == 3


def test_a_fallback_without_an_order_goes_on_to_what_the_route_prefers():
    policies = [Fallback(), Routing(strategy="ordered", to=("c", "a", "b"))]
    answers, site = through(policies, *toys(0.0, 0.0, ServerError(), 0.0))
    assert answers == ["a"]
    assert said(site.events) == [("fallback", "c", "a")]
    assert site.events[0][1]["error"] == "server_error"
    answers, site = through(policies, *toys(ServerError(), ServerError(), ServerError(), 0.0))
    assert [cause.upstream or "?" for cause in answers[0].causes] == ["?"] * 3
    assert [attempt.upstream for attempt in site.attempts] == ["c", "a", "b"]  # and not d, which is none of its own


def test_a_request_that_names_an_upstream_goes_there_and_is_counted():
    route = Watched(Routing(strategy="least_busy"))

    async def script():
        site = Site([route], *toys(0.0, 0.0, gap_s=5.0))
        held = [await site.running.send(ask(number, upstream="b")) for number in range(3)]
        response = await site.running.send(ask(9))
        counted = [place.in_flight for place in route.handlers[0].places]
        for one in (*held, response):
            await one.aclose()
        return response.upstream, counted, [place.in_flight for place in route.handlers[0].places]

    assert play(script) == ("a", [1, 3], [0, 0])


@pytest.mark.parametrize("ending", ["read", "break", "close", "cancel", "refuse"])
def test_a_call_counts_until_its_response_ends_and_no_longer(ending):
    route = Watched(Routing(strategy="least_busy", to=("a",)))
    script = {"break": ["x", ServerError()], "refuse": ServerError(), "cancel": 9.0}.get(ending, ["x", "y"])

    async def main():
        site = Site([route], Toy(script, name="a", gap_s=1.0), Toy(name="b"))
        task = asyncio.ensure_future(site.running.send(ask()))
        await asyncio.sleep(0.1)
        (place,) = route.handlers[0].places
        during = place.in_flight
        if ending == "cancel":
            task.cancel()
        try:
            response = await task
            if ending == "close":
                await response.aclose()
            await response.read()
        except (ServerError, asyncio.CancelledError):
            pass
        return during, place.in_flight

    assert play(main) == (0 if ending == "refuse" else 1, 0)


def test_peak_ewma_leaves_a_slow_one_and_comes_back():
    providers = [Toy(*[0.1] * 40, name="a"), Toy(*[2.0] * 2, *[0.1] * 60, name="b")]
    answers, _ = through([Routing(strategy="peak_ewma", decay=5.0)], *providers, requests=40, gap_s=1.0)
    assert set(answers[:2]) == {"a", "b"}  # an unknown one is tried
    assert answers[2:10] == ["a"] * 8
    assert "b" in answers[10:]  # its average has decayed below a's


def test_a_quick_failure_does_not_make_an_upstream_look_fast():
    providers = [Toy(0.5, name="a"), Toy(0.6, *[ServerError()] * 50, name="b")]
    answers, _ = through([Routing(strategy="latency", explore=0.0)], *providers, requests=12)
    assert answers.count("a") == 11
    assert answers.count("b") == 1  # the one that taught how fast it is


def test_a_time_limit_is_an_observation():
    from llmsim.gateway.policies import Timeout

    providers = [Toy(0.5, name="a"), Toy(0.1, *[9.0] * 50, name="b")]
    route = Routing(strategy="latency", explore=0.0, decay=1.0)
    answers, _ = through([route], *providers, upstream=[Timeout(ttft=2.0)], requests=8, gap_s=1.0)
    assert [answer for answer in answers[:3] if isinstance(answer, str)].count("b") == 1
    assert answers[-4:] == ["a"] * 4


def test_latency_explores_its_share():
    answers, _ = through([Routing(strategy="latency", explore=0.2)], *toys(0.1, 0.3), requests=300)
    assert 60 - 4 * 7 < answers.count("b") < 60 + 4 * 7


def test_latency_by_quantile_forgets_what_is_old():
    providers = [Toy(0.5, name="a"), Toy(2.0, *[0.1] * 50, name="b")]
    route = Routing(strategy="latency", explore=0.0, quantile=0.5, window=20.0)
    answers, _ = through([route], *providers, requests=30, gap_s=1.0)
    assert answers[2:10] == ["a"] * 8
    assert answers[-8:].count("b") >= 6  # and whoever has not been asked for the window is asked again


def test_ttft_or_e2e():
    providers = [Toy(0.1, name="a", gap_s=3.0), Toy(0.5, name="b", gap_s=0.0)]
    by_ttft, _ = through([Routing(strategy="latency", explore=0.0)], *providers, requests=6)
    by_e2e, _ = through([Routing(strategy="latency", explore=0.0, measure="e2e")], *providers, requests=6)
    assert by_ttft[2:] == ["a"] * 4
    assert by_e2e[2:] == ["b"] * 4


def test_cost_goes_by_this_request():
    dear, cheap = toys(0.0, 0.0)
    dear.price = TokenPrice(input=1e-6, output=9e-6)  # cheaper for prompts
    cheap.price = TokenPrice(input=3e-6, output=1e-6)  # … and this for answers
    spec = [Routing(strategy="cost", output_tokens=100)]
    assert through(spec, dear, cheap, each=lambda _: ask(input_tokens=5000))[0] == ["a"]
    assert through(spec, dear, cheap, each=lambda _: ask(input_tokens=50))[0] == ["b"]
    assert through(spec, dear, cheap, each=lambda _: ask(input_tokens=50, max_tokens=1))[0] == ["a"]


def limited(name, limit, per_s):
    """An upstream with a bucket of requests that answers with OpenAI's headers and counts what it had to refuse."""

    class Limited(Toy):
        refused, level, at = 0, float(limit), 0.0

        async def send(self, request):
            now = asyncio.get_running_loop().time()
            self.level, self.at = min(limit, self.level + per_s * (now - self.at)), now
            fits = self.level >= 1
            self.level -= fits
            headers = {
                "x-ratelimit-limit-requests": str(limit),
                "x-ratelimit-remaining-requests": str(int(self.level)),
                "x-ratelimit-reset-requests": f"{(limit - self.level) / per_s:.3f}s",
            }
            await asyncio.sleep(0.5)
            if not fits:
                self.refused += 1
                raise RateLimited(headers=headers, retry_after_s=1 / per_s, upstream=name)
            return Response(WholeAnswer("x", 1, Usage(1, 1)), upstream=name, headers=headers)

    return Limited(name=name)


def test_quota_stays_below_the_limits_that_answers_tell():
    a, b = limited("a", 10, 2.0), limited("b", 5, 1.0)

    async def script():
        site = Site([Routing(strategy="quota")], a, b)
        outcomes = Counter()

        async def one(number):
            try:
                outcomes[(await site.send(ask(number))).upstream] += 1
            except RateLimited as error:
                outcomes["held back"] += 1
                assert not error.upstream
                assert 0 < error.retry_after_s < 5.0

        async with asyncio.TaskGroup() as group:
            for number in range(120):  # 6/s against 3/s
                group.create_task(one(number))
                await asyncio.sleep(1 / 6)
        return outcomes

    outcomes = play(script)
    assert (a.refused, b.refused) == (0, 0)
    assert outcomes["a"] >= 45  # of 10 + 2/s for 20 s: what is left is what the headers cut off
    assert outcomes["b"] >= 20
    assert outcomes["held back"] > 20


def test_quota_keeps_away_for_as_long_as_a_refusal_says():
    a = Toy(RateLimited(retry_after_s=10.0), *[0.0] * 30, name="a")
    answers, _ = through([Routing(strategy="quota", to=("a",))], a, Toy(name="b"), requests=8, gap_s=2.0)
    assert [isinstance(answer, RateLimited) for answer in answers] == [True] * 5 + [False] * 3
    assert len(a.calls) == 4


def test_priority_spills_at_its_limit_and_comes_back():
    async def script():
        route = Routing(strategy="priority", groups=(("a", "b"), ("c",)), full_at=2)
        site = Site([route], *toys(0.0, 0.0, 0.0, gap_s=5.0))
        responses = [await site.running.send(ask(number)) for number in range(6)]
        upstreams = [response.upstream for response in responses]
        await responses[0].aclose()
        upstreams.append((await site.running.send(ask(9))).upstream)
        return upstreams, site.events

    upstreams, events = play(script)
    assert sorted(upstreams[:4]) == ["a", "a", "b", "b"]
    assert upstreams[4:6] == ["c", "c"]
    assert upstreams[6] == upstreams[0]
    assert said(events) == [("spill", "a", "c")] * 2


def test_sticky_sends_a_session_to_one_place_until_that_is_full():
    async def script():
        site = Site([Routing(strategy="sticky", bound=1.5)], *toys(0.0, 0.0, 0.0, gap_s=50.0))
        by_session = {}
        for number in range(60):
            response = await site.send(ask(number, session=f"s{number % 12}"))
            by_session.setdefault(number % 12, set()).add(response.upstream)
        hot = [await site.running.send(ask(number, session="s1")) for number in range(100, 109)]
        return by_session, Counter(response.upstream for response in hot), site.events

    by_session, hot, events = play(script)
    assert all(len(upstreams) == 1 for upstreams in by_session.values())
    assert len({upstream for upstreams in by_session.values() for upstream in upstreams}) == 3
    assert max(hot.values()) <= 5  # 1.5 times an average of 3, and the next whole number
    assert hot.most_common(1)[0][0] in by_session[1]
    assert events[0][0] == "spill"


def test_who_only_asks_whom_it_would_be_has_not_spilled():
    policies = [Fallback(ttft=5.0), Routing(strategy="priority", groups=(("a",), ("b",)), full_at=1)]

    async def script():
        site = Site(policies, *toys(0.0, 0.0, gap_s=5.0))
        held = [await site.running.send(ask(number)) for number in range(2)]
        for response in held:
            await response.aclose()
        return [response.upstream for response in held], said(site.events)

    assert play(script) == (["a", "b"], [("spill", "a", "b")])


def test_sticky_by_prefix_ignores_what_comes_after_it():
    system = Message("system", "You are a parrot. " * 100)

    def spoken(number):
        return ask(number, session=f"s{number}", messages=(system, Message("user", f"question {number}")))

    answers, _ = through([Routing(strategy="sticky", key="prefix")], *toys(0.0, 0.0, 0.0), requests=20, each=spoken)
    assert len(set(answers)) == 1
    answers, _ = through([Routing(strategy="sticky", key="session")], *toys(0.0, 0.0, 0.0), requests=20, each=spoken)
    assert len(set(answers)) == 3


def test_what_is_known_to_be_refused_is_passed_over():
    breaker = CircuitBreaker(minimum_calls=1, failure_rate=1.0, wait_in_open=10.0)
    providers = [Toy(ServerError(), *[0.0] * 50, name="a"), Toy(0.0, name="b")]
    ordered = Routing(strategy="ordered")
    answers, site = through([ordered], *providers, upstream=[breaker], requests=15, gap_s=1.0)
    assert isinstance(answers[0], ServerError)
    starts = [(round(attempt.start_s, 1), attempt.upstream) for attempt in site.attempts[1:]]
    assert [upstream for start, upstream in starts if start < 10.0] == ["b"] * 8
    assert [upstream for start, upstream in starts if start >= 10.0] == ["a"] * 6
    assert all(attempt.outcome != CircuitOpen.word for attempt in site.attempts)


def test_if_all_are_refused_the_one_that_is_back_first_says_so():
    breaker = CircuitBreaker(minimum_calls=1, failure_rate=1.0, wait_in_open=10.0)
    answers, _ = through(
        [Routing(strategy="ordered")], *toys(ServerError(), ServerError()), upstream=[breaker], requests=3
    )
    assert [type(answer) for answer in answers] == [ServerError, ServerError, CircuitOpen]
    assert answers[2].upstream == "a"


def test_context_windows_that_are_too_small_are_passed_over():
    small, large = toys(0.0, 0.0)
    small.context_window, large.context_window = 1000, 100_000
    route = [Routing(strategy="ordered")]
    assert through(route, small, large, each=lambda _: ask(input_tokens=900))[0] == ["a"]
    assert through(route, small, large, each=lambda _: ask(input_tokens=900, max_tokens=200))[0] == ["b"]
    assert through(route, small, large, each=lambda _: ask(input_tokens=10**6))[0] == ["a"]  # it says it better


def test_models_by_upstream():
    providers = toys(0.0, 0.0)
    route = [Routing(strategy="ordered", models={"a": "deployment-7"})]
    through(route, *providers, each=lambda _: ask(model="gpt"))
    assert providers[0].calls[0][1].model == "deployment-7"
    through([Routing(strategy="ordered", to=("b",), models={})], *providers, each=lambda _: ask(model="gpt"))
    assert providers[1].calls[0][1].model == "gpt"


def test_choices_do_not_depend_on_other_policies_or_on_the_order_of_requests():
    def picked(policies, numbers):
        async def script():
            site = Site(policies, *toys(0.0, 0.0, 0.0, gap_s=0.0))
            return {number: (await site.send(ask(number))).upstream for number in numbers}

        return play(script)

    @policy
    async def noise(request, call_next):
        return await call_next(request)

    plain = picked([Routing()], range(40))
    assert picked([noise, Retry(), Routing()], reversed(range(40))) == plain
