"""OpenAI's documented and observed behaviour, one row each with its source."""

import math

import pytest
from providers.dialects.desk import MINUTE, Desk, body, part

from llmsim import errors as e
from llmsim.providers.dialects import Ramp

GUIDE = "developers.openai.com/api/docs/guides/rate-limits"
ONCE = [(0.0,)]

#: what, source, limits, calls (at, input, max_tokens, cached, used), which get in
COUNTING = [
    ("a minute's worth at once, one back after 20 s", GUIDE, {"requests": 3 / 60}, ONCE * 4 + [(20.01,)], "ooo-o"),
    (
        "resending does not help: the refused one used up what had come back",
        "help.openai.com 5955604",
        {"requests": 3 / 60},
        [*ONCE * 3, (10.0,), (20.01,), (29.0,), (49.01,)],
        "ooo---o",
    ),
    (
        "unless refused requests are free",
        "the opposite of the row above",
        {"requests": 3 / 60, "failed_requests": "free"},
        [*ONCE * 3, (10.0,), (20.01,)],
        "ooo-o",
    ),
    (
        "a call refused for its tokens uses up a request",
        "help.openai.com 5955604",
        {"requests": 2 / 60, "tokens": 110 / 60},
        [(0, 100, 1), (0, 100, 1), (0, 5, 1)],
        "o--",
    ),
    (
        "the larger of prompt and max_tokens counts",
        GUIDE,
        {"tokens": 1000 / 60},
        [(0, 900, 500), (0, 60, 100), (0, 1, 1)],
        "oo-",
    ),
    (
        "or both, where that is wanted",
        "help.openai.com 6891753: contexts (prompts+max_tokens)",
        {"tokens": 1000 / 60, "count_tokens": "sum"},
        [(0, 400, 500), (0, 60, 41), (0, 60, 40)],
        "o-o",
    ),
    (
        "max_tokens counts before anything is generated, and stays counted",
        "docs.llmgateway.io/troubleshooting/openai-429-rate-limit; not given back: not confirmed",
        {"tokens": 1000 / 60},
        [(0, 10, 900, 0, 5), (0, 10, 900)],
        "o-",
    ),
    (
        "one a second for 60 a minute",
        "help.openai.com 5955604",
        {"requests": 1.0, "burst": 1.0},
        [*ONCE * 2, (1.1,)],
        "o-o",
    ),
    (
        "a day's limit comes back bit by bit",
        "x-ratelimit-reset-requests 19m45.394s with 197 of 200 left",
        {"requests_per_day": 10},
        [*ONCE * 11, (8641.0,)],
        "o" * 10 + "-o",
    ),
    ("tokens a day", GUIDE, {"tokens_per_day": 100}, [(0, 1, 100), (0, 1, 1), (900, 1, 1)], "o-o"),
    (
        "growing faster than 50 % in 15 minutes",
        "developersdigest.tech/errors/api/openai-api/429-slow-down",
        {"tokens": 1e9, "ramp": Ramp()},
        [(0, 1_000_000, 1), (1, 100_000, 1), (60, 900_000, 1), (901, 1_500_000, 1), (902, 100_000, 1)],
        "o-oo-",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("openai", **words).letters(calls) == letters


@pytest.mark.parametrize(
    ("limit", "used", "requested", "wait", "source"),
    [
        (30000, 14567, 24754, "18.642s", "semanser/codel#72"),
        (200000, 162960, 42288, "1.574s", "openai/codex#88"),
        (10000, 8554, 3082, "9.816s", "FoundationAgents/MetaGPT#523"),
        (30000, 29937, 385, "644ms", "BuilderIO/micro-agent#86"),
        (30000, 18928, 11159, "174ms", "continuedev/continue#11472"),
    ],
)
def test_refusals_that_were_seen_are_reproduced_to_the_millisecond(limit, used, requested, wait, source):
    desk = Desk("openai", tokens=limit / MINUTE)
    desk.ask(0.0, used, 1)
    answer = desk.refusal(0.0, requested, 1)
    assert f"(TPM): Limit {limit}, Used {used}, Requested {requested}. Please try again in {wait}." in answer.message
    expected = {"error": {"type": "tokens", "param": None, "code": "rate_limit_exceeded", "message": answer.message}}
    assert (answer.status, answer.kind) == (429, e.RateLimited)
    assert body(answer) == expected


@pytest.mark.parametrize(
    ("words", "call", "expected", "source"),
    [
        (
            {"requests": 500 / 60, "tokens": 300_000 / 60},
            (0.0, 4568, 1),
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-limit-tokens": "300000",
                "x-ratelimit-remaining-tokens": "295432",
                "x-ratelimit-reset-tokens": "913ms",
            },
            "headers of a 500 of February 2024",
        ),
        (
            {"requests": 5000 / 60, "tokens": 160_000 / 60},
            (0.0, 24, 16),
            {
                "x-ratelimit-remaining-requests": "4999",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-remaining-tokens": "159976",
                "x-ratelimit-reset-tokens": "9ms",
            },
            "community.openai.com/t/1268905",
        ),
        (
            {"requests": 100.0, "requests_per_day": 10_000},
            (0.0,),
            {"x-ratelimit-limit-requests": "10000", "x-ratelimit-reset-requests": "8.64s"},
            "limit-requests 10000 on an account of 500 a minute: the day's limit is shown",
        ),
        (
            {"tokens": 150_000 / 60},
            (0.0, 3, None),
            {"x-ratelimit-remaining-tokens": "149984"},
            "the guide's example, a prompt of a few words without max_tokens",
        ),
    ],
)
def test_headers_of_a_success(words, call, expected, source):
    headers = Desk("openai", **words).headers(*call)
    assert expected.items() <= headers.items(), headers


def test_the_429_says_when_in_headers_too():
    """openai-python 2.54.0 reads retry-after-ms, then retry-after."""
    desk = Desk("openai", requests=3 / 60)
    for _ in range(3):
        desk.ask()
    answer = desk.refusal(0.25)
    # The refused call used up what had come back in that quarter of a second: it is 20 s from now.
    assert answer.headers["retry-after-ms"] == "20001"
    assert answer.headers["retry-after"] == "21"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.retry_after_s == 20.001
    assert "requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s." in answer.message


def test_what_can_never_fit_says_no_time():
    """TheR1D/shell_gpt#653, vanna-ai/vanna-flask#11."""
    answer = Desk("openai", tokens=30_000 / MINUTE).refusal(0.0, 31_538, 1)
    assert answer.message.startswith("Request too large for the-model")
    assert "Limit 30000, Requested 31538" in answer.message
    assert (answer.status, answer.retry_after_s, "retry-after" in answer.headers) == (429, None, False)


#: kind, source, error, status, part of the body
FAILURES = [
    (
        "quota",
        "langchain-ai/langchainjs#1929",
        e.QuotaExhausted,
        429,
        {"type": "insufficient_quota", "code": "insufficient_quota"},
    ),
    (
        "slow_down",
        "developersdigest.tech 429-slow-down",
        e.RateLimited,
        429,
        {"type": "rate_limit_error", "code": "slow_down"},
    ),
    (
        "overloaded",
        "developersdigest.tech 503-server-is-overloaded",
        e.Overloaded,
        503,
        {"type": "service_unavailable_error", "code": "server_is_overloaded"},
    ),
    (
        "server_error",
        "a 500 of February 2024",
        e.ServerError,
        500,
        {"type": "server_error", "param": None, "code": None},
    ),
    (
        "auth",
        "easychen/openai-api-proxy#33",
        e.AuthError,
        401,
        {"type": "invalid_request_error", "code": "invalid_api_key"},
    ),
    (
        "context_too_long",
        "platform.openai.com error codes",
        e.ContextTooLong,
        400,
        {
            "code": "context_length_exceeded",
            "message": "…maximum context length is 8192 tokens. However, your messages resulted in 9000",
        },
    ),
    (
        "content_filter",
        "reasoning models' invalid_prompt, not confirmed",
        e.ContentFiltered,
        400,
        {"code": "invalid_prompt"},
    ),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("openai").failure(kind, input_tokens=9000, context_tokens=8192)
    assert (answer.kind, answer.status, answer.event) == (error, status, None)
    assert part(body(answer)["error"], fields), answer.body
    assert answer.retry_after_s is None
    assert answer.kind.retryable == (kind in ("slow_down", "overloaded", "server_error"))


def test_an_error_after_the_200_is_a_bare_data_event():
    """apache/rocketmq-dashboard#2178; the SDK raises and does not retry."""
    answer = Desk("openai").failure("in_stream")
    assert answer.status == 200
    assert answer.sse().startswith('data: {"error": {"message": ')
    assert answer.sse().endswith("}}\n\n")
    early, late = answer.error("p"), answer.error("p", tokens_delivered=7)
    assert (type(early), early.status) == (e.ServerError, 500)
    assert (type(late), late.status, late.tokens_delivered) == (e.StreamBroken, 200, 7)


def test_the_ramp_forgets_what_it_does_not_see():
    """A quarter of an hour of silence, and the floor holds again."""
    desk = Desk("openai", tokens=1e9, ramp=Ramp())
    busy = [(second, 30_000, 1) for second in range(0, 900, 2)]  # 900k a minute: 1.35M would be next
    assert set(desk.letters(busy)) == {"o"}
    assert desk.letters([(2701, 1_000_000, 1), (2701, 1, 1)]) == "o-"
    assert math.isinf(Desk("openai", ramp=Ramp(above=10.0)).ask(0.0, 601, 1).wait_s)


def test_refused_calls_use_up_the_minute_and_not_the_day():
    """help.openai.com 5955604 says it of the per-minute limit."""
    desk = Desk("openai", requests=2 / 60, requests_per_day=4)
    letters = desk.letters([(at, 1, 1) for at in (0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 200)])
    assert letters == "oo------oo-", "two a minute, and four a day in spite of six refusals"
