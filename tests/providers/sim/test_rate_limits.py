"""429s: which bucket, how long, and that Retry-After tells the truth."""

import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from providers.sim.bench import play

from llmsim.distributions import Constant
from llmsim.providers.dialects import DIALECTS, ErrorRates, Limits, Refused
from llmsim.providers.faults import Fault, Scale
from llmsim.providers.sim.spec import SimProvider

GENERIC = DIALECTS["generic"]
FAST = {"ttft": Constant(0.01), "answer_time": Constant(0.0)}


def _words(limit, calls, **more):
    """Outcomes of calls, each (at, input_tokens, output_tokens)."""

    def script(bench):
        for number, (at, given_tokens, taken) in enumerate(calls):
            bench.go(number, at=at, input_tokens=given_tokens, tokens=taken)

    return [visit.word for visit in play(SimProvider(**FAST, rate_limit=limit, **more), script)]


@pytest.mark.parametrize(
    ("limit", "calls", "words"),
    [
        # Three a second, in buckets of one second: the fourth at once is too many, half a second later one is back.
        (Limits(requests=3.0, window=1.0), [(0, 9, 9)] * 4 + [(0.5, 9, 9)] * 2, "ooo-o-"),
        (Limits(tokens=100.0, window=1.0), [(0, 40, 10), (0, 40, 11), (0, 40, 10), (0, 1, 1)], "o-o-"),
        (Limits(input_tokens=100.0, window=1.0), [(0, 60, 999), (0, 60, 1), (0, 40, 1)], "o-o"),
        (Limits(output_tokens=100.0, window=1.0), [(0, 999, 60), (0, 1, 60), (0, 1, 40)], "o-o"),
        (Limits(requests=2.0, tokens=100.0, window=1.0), [(0, 90, 1), (0, 90, 1), (0, 1, 1), (0, 1, 1)], "o-o-"),
    ],
)
def test_each_limit_counts_its_own_and_a_refusal_costs_nothing(limit, calls, words):
    names = {"o": "ok", "-": "rate_limited"}
    assert _words(limit, calls) == [names[letter] for letter in words]


def test_a_refused_call_says_how_long_and_gets_in_then_and_not_before():
    def script(bench):
        bench.go(0, input_tokens=95, tokens=5)
        bench.go(1, at=0.25, input_tokens=60, tokens=1)

    seen = play(SimProvider(**FAST, rate_limit=Limits(tokens=100.0, window=1.0)), script)
    error = seen[1].error
    assert error.status == 429
    assert error.retry_after_s == pytest.approx(0.36, abs=0.0021)
    assert float(error.headers["retry-after-ms"]) / 1000 == pytest.approx(error.retry_after_s)
    assert error.headers["retry-after"] == "1", "whole seconds, rounded up"
    before = [(0, 95, 5), (0.25, 60, 1), (0.25 + 0.36 - 0.002, 60, 1)]
    after = [(0, 95, 5), (0.25, 60, 1), (0.25 + error.retry_after_s, 60, 1)]
    limit = Limits(tokens=100.0, window=1.0)
    assert _words(limit, before)[2] == "rate_limited"
    assert _words(limit, after)[2] == "ok"


@settings(max_examples=examples(100), deadline=None)
@given(
    rate=st.floats(0.05, 5e4),
    window=st.floats(0.5, 60),
    start=st.floats(0, 1e5),
    shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12),
)
def test_retry_after_honoured_exactly_always_gets_in(rate, window, start, shares):
    """Also where the sums do not come out even: else a polite client is told to come back in 1e-17 s."""
    account = GENERIC.account(Limits(tokens=rate, window=window))
    now = start
    for share in shares:
        amount = max(int(share * rate * window), 1)
        outcome = account.admit(amount, 0, 0, now)
        if not isinstance(outcome, Refused):
            continue
        after_s = GENERIC.refusal(account, outcome).retry_after_s
        if after_s is None:
            continue
        now += after_s
        assert not isinstance(account.admit(amount, 0, 0, now), Refused)


@settings(max_examples=examples(100), deadline=None)
@given(
    rate=st.floats(0.5, 50),
    window=st.floats(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=60),
)
def test_buckets_against_an_oracle(rate, window, steps):
    """The oracle keeps the list of what was let in and asks how full a bucket that leaks at `rate` would be."""
    account = GENERIC.account(Limits(requests=rate, tokens=rate * 9, window=window))
    held = max(rate * window, 1)  # a window too short for a request holds one all the same
    level, now = {"requests": held, "tokens": rate * 9 * window}, 0.0
    let_in = []
    for pause, taken, made in steps:
        now += pause
        level["requests"] = min(held, level["requests"] + rate * pause)
        level["tokens"] = min(rate * 9 * window, level["tokens"] + rate * 9 * pause)
        short = max(1 - level["requests"], (taken + made - level["tokens"]) / 9)  # in units of 1/rate
        refused = isinstance(account.admit(taken, made, 0, now), Refused)
        if short > 1e-6:
            assert refused
        if short < -1e-6:
            assert not refused
        if not refused:
            level["requests"] -= 1
            level["tokens"] -= taken + made
            let_in.append((now, taken + made))
    for first in range(len(let_in)):  # never more than a full bucket and what flowed in since, in any stretch of time
        for last in range(first, len(let_in)):
            span = let_in[last][0] - let_in[first][0]
            assert last - first + 1 <= held + rate * span + 1e-6
            assert sum(n for _, n in let_in[first : last + 1]) <= 9 * rate * (window + span) + 1e-5


def test_what_can_never_fit_says_no_time():
    seen = play(
        SimProvider(**FAST, rate_limit=Limits(tokens=10.0, window=1.0)),
        lambda bench: bench.go(0, input_tokens=11, tokens=1),
    )
    assert (seen[0].word, seen[0].error.retry_after_s, dict(seen[0].error.headers)) == ("rate_limited", None, {})


def test_retry_after_can_be_left_out():
    limit = Limits(requests=1.0, window=1.0, retry_after=False)
    seen = play(SimProvider(**FAST, rate_limit=limit), lambda bench: [bench.go(number) for number in range(2)])
    refused = seen[1].error
    assert (refused.word, refused.retry_after_s, dict(refused.headers)) == ("rate_limited", None, {})


def _clamp(multiplier, at, duration):
    return Fault(name="cut", provider="p", at=at, duration=duration, rate_limit=Scale(multiplier=multiplier))


def test_a_clamp_takes_away_what_no_longer_fits_and_gives_back_only_with_time():
    spec = SimProvider(**FAST, rate_limit=Limits(requests=10.0, window=1.0))

    def script(bench):
        for number in range(10):
            bench.go(number, at=1.0)  # a full bucket of ten became one of two
        for number in range(10, 14):
            bench.go(number, at=1.5)  # 0.5 s at 2/s
        for number in range(14, 20):
            bench.go(number, at=2.0)  # over: one had come back since, and from now on 10/s
        for number in range(20, 26):
            bench.go(number, at=2.45)

    words = [visit.word for visit in play(spec, script, [_clamp(0.2, 0.9, 1.1)])]
    counts = [words[first:last].count("ok") for first, last in [(0, 10), (10, 14), (14, 20), (20, 26)]]
    assert counts == [2, 1, 1, 4]


def test_a_clamp_to_zero_refuses_everything_and_promises_nothing():
    spec = SimProvider(**FAST, rate_limit=Limits(requests=10.0, window=1.0))
    seen = play(spec, lambda bench: [bench.go(0, at=1.0), bench.go(1, at=2.5)], [_clamp(0.0, 0.5, 1.5)])
    assert [visit.word for visit in seen] == ["rate_limited", "ok"]
    assert seen[0].error.retry_after_s is None


def test_errors_and_full_queues_are_not_charged():
    def script(bench):
        for number in range(400):
            bench.go(number, at=number * 1e-3)

    limit = Limits(requests=1000.0, window=0.1)  # 100 at once, then one a millisecond: exactly what comes
    half = play(SimProvider(**FAST, errors=ErrorRates(server_error=0.5), rate_limit=limit), script)
    assert "rate_limited" not in {visit.word for visit in half}
    assert {visit.word for visit in half} == {"ok", "server_error"}


def test_share_of_errors_and_their_answer_time():
    count = 2000

    def script(bench, calls=count):
        for number in range(calls):
            bench.go(number)

    def few(bench):
        script(bench, 200)

    seen = play(
        SimProvider(ttft=Constant(1.0), answer_time=Constant(0.07), errors=ErrorRates(server_error=0.3)), script
    )
    failed = [visit for visit in seen if visit.word == "server_error"]
    assert abs(len(failed) / count - 0.3) < 4 * math.sqrt(0.3 * 0.7 / count)
    assert {visit.end_s for visit in failed} == {0.07}
    assert {visit.error.status for visit in failed} == {500}
    nothing = play(SimProvider(ttft=Constant(1.0)), few)
    assert {visit.word for visit in nothing} == {"ok"}
    everything = play(SimProvider(errors=ErrorRates(server_error=1.0)), few)
    assert {visit.word for visit in everything} == {"server_error"}
