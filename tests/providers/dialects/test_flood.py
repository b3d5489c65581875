"""Clients against whole limits: the polite one is never refused, the greedy one gets what the documentation allows.

The oracles are sums over the calls that got in, or closed forms; none of them has a bucket that is refilled bit by bit.
"""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from providers.dialects.desk import EPOCH, MINUTE, Desk

from llmsim.providers.dialects import Refused
from llmsim.types import Usage

SECONDS = 300


def _admitted(desk, per_s, call, seconds=SECONDS, end_s=None, usage=None):
    """How many of evenly spaced calls get in; each ends `end_s` later with `usage`."""
    count, ends = 0, []
    for number in range(int(per_s * seconds)):
        now = number / per_s
        while ends and ends[0][0] <= now:
            at, ticket = ends.pop(0)
            desk.account.settle(ticket, usage, at)
        ticket = desk.ask(now, *call)
        if not isinstance(ticket, Refused):
            count += 1
            if end_s is not None:
                ends.append((now + end_s, ticket))
    return count


@pytest.mark.parametrize(
    ("words", "per_s", "call", "allowed"),
    [
        # Requests: 10x the limit drains the full bucket at 9x, and from then on every refused call eats what came back.
        ({"requests": 1.0}, 10.0, (1, 1), 60 * 10 / 9),
        ({"requests": 1.0, "failed_requests": "free"}, 10.0, (1, 1), 60 + 1.0 * SECONDS),
        # Tokens, 10x: requests are plenty, and refused calls eat no tokens.
        ({"requests": 100.0, "tokens": 1000.0}, 10.0, (1000, 100), (60_000 + 1000.0 * SECONDS) / 1000),
        # Tokens bind first; refused calls take requests, until after 60 s those are gone: 5/s of 10/s, 300 at first.
        ({"requests": 5.0, "tokens": 1000.0}, 10.0, (1000, 100), (60_000 + 1000.0 * 60) / 1000),
        (
            {"requests": 5.0, "tokens": 1000.0, "failed_requests": "free"},
            10.0,
            (1000, 100),
            (60_000 + 1000.0 * SECONDS) / 1000,
        ),
        # What is asked for counts, not what is used.
        ({"tokens": 1000.0}, 10.0, (100, 1000), (60_000 + 1000.0 * SECONDS) / 1000),
        ({"tokens": 1000.0, "count_tokens": "sum"}, 10.0, (100, 900), (60_000 + 1000.0 * SECONDS) / 1000),
    ],
)
def test_ten_times_the_limit_of_openai(words, per_s, call, allowed):
    assert abs(_admitted(Desk("openai", **words), per_s, call) - allowed) <= 1


def _anthropic_oracle(per_s, end_s, charged, used, capacity, rate, late_s):
    """Of each limit: charges of calls in flight and use of those that ended fit into what there was so far.

    While ten times too much is asked nothing overflows, and sums are enough; only output that is not reserved leaves
    its bucket full for `late_s` at first, until something has been produced.
    """
    starts = []
    for number in range(int(per_s * SECONDS)):
        now = number / per_s
        flying = sum(start > now - end_s for start in starts)
        fits = all(
            flying * charge + (len(starts) - flying) * use + charge <= size + refill * max(now - late, 0) + 1e-6
            for charge, use, size, refill, late in zip(charged, used, capacity, rate, (0, 0, late_s), strict=True)
        )
        if fits:
            starts.append(now)
    return len(starts)


@pytest.mark.parametrize(
    ("words", "call", "usage", "charged", "used"),
    [
        # requests, input, output: which of them binds
        (
            {"requests": 0.5, "input_tokens": 1e6, "output_tokens": 1e6},
            (10, 100),
            Usage(10, 50, 0),
            (1, 10, 1),
            (1, 10, 50),
        ),
        (
            {"requests": 9.0, "input_tokens": 700.0, "output_tokens": 1e6},
            (3000, 100, 2300),
            Usage(3000, 50, 2300),
            (1, 700, 1),
            (1, 700, 50),
        ),
        (
            {"requests": 9.0, "input_tokens": 1e6, "output_tokens": 300.0},
            (10, 4000),
            Usage(10, 300, 0),
            (1, 10, 1),
            (1, 10, 300),
        ),
        (
            {"requests": 9.0, "input_tokens": 1e6, "output_tokens": 300.0, "reserve_output": True},
            (10, 4000),
            Usage(10, 300, 0),
            (1, 10, 4000),
            (1, 10, 300),
        ),
    ],
)
def test_ten_times_the_limit_of_anthropic(words, call, usage, charged, used):
    per_s, end_s = 10.0, 4.0
    rate = [words["requests"], words["input_tokens"], words["output_tokens"]]
    late_s = 0.0 if words.get("reserve_output") else end_s
    allowed = _anthropic_oracle(per_s, end_s, charged, used, [60 * value for value in rate], rate, late_s)
    assert allowed < 0.5 * per_s * SECONDS, "the limits do bind"
    assert abs(_admitted(Desk("anthropic", **words), per_s, call, end_s=end_s, usage=usage) - allowed) <= 1


@pytest.mark.parametrize(
    ("name", "words", "call", "allowed"),
    [
        ("azure", {"requests": 1.0}, (1, 1), SECONDS),  # one in each second
        ("azure", {"tokens": 1000.0}, (100, 900), 60 * SECONDS / 60),  # a minute's worth in each minute
        ("gemini", {"requests": 1.0}, (1, 1), 60 * SECONDS / 60),
        ("gemini", {"requests": 1.0, "requests_per_day": 170}, (1, 1), 170),
        ("bedrock", {"tokens": 1000.0}, (100, 900), (60_000 + 1000.0 * SECONDS) / 1000),
        ("groq", {"requests": 1.0, "tokens": 500.0}, (100, 900), (30_000 + 500.0 * SECONDS) / 1000),
        ("generic", {"requests": 1.0, "window": 10.0}, (1, 1), 10 + SECONDS),
        ("generic", {"tokens": 777.0, "window": 10.0, "requests_per_second": 3}, (1, 1), 3 + 3 * SECONDS),
    ],
)
def test_ten_times_the_limit_of_the_others(name, words, call, allowed):
    assert abs(_admitted(Desk(name, **words), 10.0, call) - allowed) <= 1


def test_a_limit_of_a_second_says_so_and_is_cut_like_the_others():
    desk = Desk("generic", tokens=777.0, requests_per_second=3)
    assert [isinstance(desk.ask(0.0, 1, 1), Refused) for _ in range(4)] == [False] * 3 + [True]
    answer = desk.dialect.refusal(desk.account, desk.ask(0.0, 1, 1))
    assert "rate limit reached on requests per 1s" in answer.body
    assert answer.retry_after_s == pytest.approx(1 / 3, abs=1e-3)
    desk.account.rescale(0.1, 10.0)  # one fits, and the next one comes in ten thirds of a second
    assert [isinstance(desk.ask(at, 1, 1), Refused) for at in (10.0, 13.3, 13.4)] == [False, True, False]


def _seconds(duration: str) -> float:
    """Go's notation."""
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", duration)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def test_who_follows_the_headers_of_openai_is_never_refused():
    """It sends as long as the headers say that the next call fits, and else waits for the reset they name."""
    desk = Desk("openai", requests=30 / MINUTE, tokens=40_000 / MINUTE)
    now, tokens = 0.0, 0
    left = {"requests": 30, "tokens": 40_000}
    full_at = {"requests": 0.0, "tokens": 0.0}
    for number in range(2000):
        need = {"requests": 1, "tokens": 300 + number * 7919 % 2700}
        now += 0.03 + (number * 31 % 7) / 10
        now = max([now, *(full_at[kind] for kind, amount in need.items() if left[kind] < amount)])
        ticket = desk.ask(now, need["tokens"], 100)
        assert not isinstance(ticket, Refused), (number, now, ticket)
        tokens += need["tokens"]
        headers = desk.dialect.success(desk.account, ticket)
        for kind in left:
            left[kind] = int(headers[f"x-ratelimit-remaining-{kind}"])
            full_at[kind] = now + _seconds(headers[f"x-ratelimit-reset-{kind}"])
    assert tokens > 0.9 * 40_000 * now / MINUTE, "and it uses what it may"


@pytest.mark.parametrize("reserve", [True, False], ids=["reserved", "as produced"])
def test_who_follows_the_headers_of_anthropic_is_never_refused(reserve):
    """Tokens left are rounded to thousands, so 500 of them may not be there; a reset is a moment in UTC."""
    limits = {"requests": 50, "input-tokens": 30_000, "output-tokens": 8_000}
    words = {kind.replace("-", "_"): limit / MINUTE for kind, limit in limits.items()}
    desk = Desk("anthropic", **words, reserve_output=reserve)
    now, sent = 0.0, 0
    left, full_at = dict(limits), dict.fromkeys(limits, 0.0)
    for number in range(1500):
        made = 40 + number * 104_729 % 400
        need = {"requests": 1, "input-tokens": 100 + number * 7919 % 2000, "output-tokens": 500 if reserve else 1}
        now = max([now + 0.05, *(full_at[kind] for kind, amount in need.items() if left[kind] < amount)])
        ticket = desk.ask(now, need["input-tokens"], 500)
        assert not isinstance(ticket, Refused), (number, now, ticket)
        sent += 1
        headers = desk.dialect.success(desk.account, ticket)
        now += 1.3  # the answer comes, one call after the other
        desk.account.settle(ticket, Usage(need["input-tokens"], made, 0), now)
        for kind in limits:
            left[kind] = int(headers[f"anthropic-ratelimit-{kind}-remaining"]) - (0 if kind == "requests" else 500)
            reset = datetime.fromisoformat(headers[f"anthropic-ratelimit-{kind}-reset"])
            full_at[kind] = reset.timestamp() - EPOCH
        if not reserve:  # it knows what it has made since then
            left["output-tokens"] -= made
            full_at["output-tokens"] += made / (8_000 / MINUTE)
    assert sent / now > 0.4, "27 a minute with 1,100 input tokens each: it uses what it may"


def test_who_waits_as_told_gets_in():
    """Each refusal's retry_after_s, for every dialect that gives one for a limit that waiting cures."""
    for name, words in {
        "openai": {"tokens": 777.0, "failed_requests": "count", "requests": 3.3},
        "anthropic": {"input_tokens": 777.0, "requests": 3.3},
        "azure": {"tokens": 777.0, "requests": 3.3},
        "gemini": {"input_tokens": 777.0, "requests": 3.3},
        "groq": {"tokens": 777.0, "requests": 3.3},
        "generic": {"tokens": 777.0, "requests": 3.3},
    }.items():
        desk, now, refusals = Desk(name, **words), 0.0, 0
        for number in range(400):
            ticket = desk.ask(now, 1000 + number * 7919 % 9000, 1)
            if isinstance(ticket, Refused):
                refusals += 1
                answer = desk.dialect.refusal(desk.account, ticket)
                now += answer.retry_after_s
                assert not isinstance(
                    desk.ask(now, int(ticket.requested) if ticket.name != "requests" else 1, 0), Refused
                ), name
        assert refusals > 40, name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (name, words)
        for name in ("openai", "anthropic", "azure", "gemini", "groq", "generic")
        for words in ({"requests": 1.0}, {"requests": 3 / MINUTE}, {"requests": 1.0, "burst": 1.0})
        if "burst" not in words or name in ("openai", "anthropic", "azure")
    ],
)
def test_who_waits_as_told_for_a_request_gets_in(name, words):
    """Comes again at once after an answer, and exactly when a refusal says: never two refusals in a row.

    At OpenAI a refusal uses up what has come back of the next request, so that has to be waited for as well.
    """
    desk, now, letters = Desk(name, **words), 0.0, ""
    for _ in range(400):
        ticket = desk.ask(now, 10, 10)
        if isinstance(ticket, Refused):
            letters += "-"
            now += desk.dialect.refusal(desk.account, ticket).retry_after_s
        else:
            letters += "o"
            now += 0.01
    assert "--" not in letters
    assert letters.count("-") > 5
    assert letters.count("o") >= 0.9 * words["requests"] * now, "and it gets what it may"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai", {"requests": 1.0, "burst": 1.0, "failed_requests": "free"}),
        ("openai", {"requests": 3 / MINUTE, "failed_requests": "free"}),
        ("anthropic", {"requests": 1.0, "burst": 1.0}),
        ("azure", {"requests": 10.0}),
        ("azure", {"requests": 10.0, "burst": 10.0}),
        ("groq", {"requests": 2 / MINUTE}),
        ("generic", {"requests": 1.0, "window": 1.0}),
    ],
)
def test_a_quota_cut_leaves_what_it_says(name, words):
    """Also where a full limit holds less than one request afterwards."""
    desk = Desk(name, **words)
    desk.account.rescale(0.1, 0.0)
    allowed = 0.1 * words["requests"] * 2000
    assert (
        abs(_admitted(desk, 5.0, (1, 1), seconds=2000) - allowed) <= 2 + 0.01 * allowed + 0.1 * 60 * words["requests"]
    )
    desk.account.rescale(1.0, 2000.0)
    later = sum(not isinstance(desk.ask(2000 + number / 5, 1, 1), Refused) for number in range(10_000))
    assert abs(later - min(words["requests"], 5.0) * 2000) <= 2 + 0.01 * words["requests"] * 2000
