"""Anthropic's documented behaviour, one row each with its source."""

import pytest
from providers.dialects.desk import EPOCH, MINUTE, Desk, body, part

from llmsim import errors as e
from llmsim.providers.dialects import Ramp
from llmsim.types import Usage

LIMITS = "platform.claude.com/docs/en/api/rate-limits"
ERRORS = "docs.claude.com/en/api/errors"
OLD = "docs.anthropic.com/fr/api/rate-limits (2025)"
ONCE = [(0.0,)]

#: what, source, limits, calls (at, input, max_tokens, cached, used), which get in
COUNTING = [
    ("a bucket that refills all the time", LIMITS, {"requests": 1.0}, [*ONCE * 61, (0.5,), (1.01,)], "o" * 60 + "--o"),
    (
        "a refused request costs nothing",
        "not documented; not confirmed",
        {"requests": 3 / 60},
        [*ONCE * 4, (10.0,), (20.01,)],
        "ooo--o",
    ),
    ("one a second for 60 a minute", LIMITS, {"requests": 1.0, "burst": 1.0}, [*ONCE * 2, (1.01,)], "o-o"),
    (
        "80 % from the cache: five times the input",
        LIMITS,
        {"input_tokens": 1000 / 60},
        [(0, 1000, 1, 800)] * 6,
        "ooooo-",
    ),
    (
        "what is read from the cache counts on models with a dagger",
        LIMITS,
        {"input_tokens": 1000 / 60, "count_cached": True},
        [(0, 1000, 1, 800)] * 2,
        "o-",
    ),
    (
        "max_tokens does not count",
        LIMITS,
        {"output_tokens": 1000 / 60},
        [(0, 1, 64_000, 0, 400), (0, 1, 64_000, 0, 400), (0, 1, 64_000, 0, 400), (0, 1, 1)],
        "ooo-",
    ),
    (
        "too much output leaves a debt that time pays back",
        LIMITS,
        {"output_tokens": 1000 / 60},
        [(0, 1, 9, 0, 1600), (30, 1, 9), (36.2, 1, 9)],
        "o-o",
    ),
    (
        "until 2025 max_tokens was reserved",
        OLD,
        {"output_tokens": 1000 / 60, "reserve_output": True},
        [(0, 1, 600), (0, 1, 600), (0, 1, 400)],
        "o-o",
    ),
    (
        "and adjusted at the end",
        OLD,
        {"output_tokens": 1000 / 60, "reserve_output": True},
        [(0, 1, 600, 0, 100), (0, 1, 600, 0, 100), (0, 1, 801)],
        "oo-",
    ),
    (
        "input, output and requests each by themselves",
        LIMITS,
        {"requests": 1.0, "input_tokens": 100 / 60, "output_tokens": 100 / 60},
        [(0, 100, 1, 0, 1), (0, 1, 1, 0, 1), (60, 1, 1, 0, 100), (60, 1, 1)],
        "o-o-",
    ),
    (
        "a sharp increase is refused",
        f"{LIMITS}: acceleration limits; figures are OpenAI's",
        {"input_tokens": 1e6, "ramp": Ramp(above=10.0)},
        [(0, 600, 1), (0, 1, 1), (901, 900, 1), (901, 1, 1)],
        "o-o-",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("anthropic", **words).letters(calls) == letters


def test_the_estimate_of_the_input_is_adjusted():
    """Also LIMITS: who hoped for the cache and missed it is charged for what was really read."""
    desk = Desk("anthropic", input_tokens=1000 / MINUTE)
    ticket = desk.ask(0.0, 1000, 1, 800)
    desk.account.settle(ticket, Usage(1000, 1, 0), 0.0)
    assert desk.letters([(0, 1, 1)]) == "-"


def test_headers_of_a_success():
    """LIMITS: tokens left are rounded to thousands; a reset is the moment (RFC 3339) when all is back."""
    words = {"requests": 50 / 60, "input_tokens": 30_000 / 60, "output_tokens": 8_000 / 60}
    headers = Desk("anthropic", **words, reserve_output=True).headers(10.0, 12_400, 1600)
    assert headers == {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:12Z",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "anthropic-ratelimit-input-tokens-remaining": "18000",
        "anthropic-ratelimit-input-tokens-reset": "2026-01-01T00:00:35Z",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "6000",
        "anthropic-ratelimit-output-tokens-reset": "2026-01-01T00:00:22Z",
        "anthropic-ratelimit-tokens-limit": "38000",
        "anthropic-ratelimit-tokens-remaining": "24000",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:35Z",
    }
    assert EPOCH == 1_767_225_600


def test_a_429_names_its_limit_and_has_retry_after_in_seconds():
    """OpenHands/OpenHands#9259 (body), LIMITS (retry-after: earlier retries will fail)."""
    desk = Desk("anthropic", input_tokens=20_000 / MINUTE)
    desk.ask(0.0, 20_000, 1)
    answer = desk.refusal(0.0, 1500, 1)
    assert part(
        body(answer), {"type": "error", "error": {"type": "rate_limit_error", "message": "…of 20,000 input tokens per"}}
    )
    assert (answer.status, answer.kind, answer.headers["retry-after"], answer.retry_after_s) == (
        429,
        e.RateLimited,
        "5",
        5,
    )
    assert answer.headers["anthropic-ratelimit-input-tokens-remaining"] == "0"
    assert desk.letters([(4.49, 1500, 1), (5.0, 1500, 1)]) == "-o"


def test_the_spending_cap_is_a_429_without_retry_after():
    """LIMITS, learn.microsoft.com dev-proxy anthropic-529: only error.details.error_code tells it from a rate limit."""
    answer = Desk("anthropic").failure("quota")
    assert part(
        body(answer)["error"], {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}
    )
    assert (answer.status, answer.kind, answer.retry_after_s, dict(answer.headers)) == (429, e.QuotaExhausted, None, {})


FAILURES = [
    ("overloaded", ERRORS, e.Overloaded, 529, {"type": "overloaded_error", "message": "Overloaded"}),
    ("server_error", ERRORS, e.ServerError, 500, {"type": "api_error"}),
    ("auth", ERRORS, e.AuthError, 401, {"type": "authentication_error"}),
    ("slow_down", ERRORS, e.RateLimited, 429, {"type": "rate_limit_error", "message": "…acceleration limit"}),
    (
        "context_too_long",
        "getappmap/appmap-js#2091",
        e.ContextTooLong,
        400,
        {"type": "invalid_request_error", "message": "prompt is too long: 200679 tokens > 199999 maximum"},
    ),
    (
        "content_filter",
        "widely quoted: 400 Output blocked …",
        e.ContentFiltered,
        400,
        {"type": "invalid_request_error"},
    ),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("anthropic").failure(kind, input_tokens=200_679, context_tokens=199_999)
    assert (answer.kind, answer.status) == (error, status)
    assert part(body(answer), {"type": "error", "error": fields}), answer.body


def test_overload_in_the_stream_is_an_event_of_its_own():
    """platform.claude.com/docs/en/build-with-claude/streaming: would normally correspond to an HTTP 529."""
    answer = Desk("anthropic").failure("in_stream")
    assert (
        answer.sse()
        == 'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    )
    assert (type(answer.error("p")), answer.error("p").status) == (e.Overloaded, 529)
    assert type(answer.error("p", tokens_delivered=1)) is e.StreamBroken
