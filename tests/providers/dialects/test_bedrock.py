"""Bedrock's documented behaviour, one row each with its source."""

import pytest
from providers.dialects.desk import MINUTE, Desk, body

from llmsim import errors as e
from llmsim.types import Usage

BURNDOWN = "docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html"
CODES = "docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"
HEALTH = "aws/agent-toolkit-for-aws quota-health.md"
TPM = {"tokens": 100_000 / 60}

COUNTING = [
    (
        "input and max_tokens are taken at the start",
        BURNDOWN,
        TPM,
        [(0, 48_000, 32_000), (0, 1, 20_000), (0, 1, 19_999)],
        "o-o",
    ),
    ("and what was not used comes back", BURNDOWN, TPM, [(0, 1000, 90_000, 0, 100), (0, 1000, 90_000, 0, 100)], "oo"),
    ("cached input is taken, too", HEALTH, TPM, [(0, 90_000, 1000, 90_000), (0, 9001, 0), (0, 9000, 0)], "o-o"),
    ("but comes back", BURNDOWN, TPM, [(0, 90_000, 1000, 90_000, 0), (0, 90_000, 1000, 90_000, 0)], "oo"),
    (
        "an output token costs five",
        BURNDOWN,
        {**TPM, "output_weight": 5.0},
        [(0, 0, 20_000, 0, 20_000), (0, 1, 0)],
        "o-",
    ),
    (
        "10,000 of output cost 50,000",
        "community.aws 2xVZmCM5E7XXw0yqTEGgXYxRowk",
        {**TPM, "output_weight": 5.0},
        [(0, 0, 10_000, 0, 10_000), (0, 50_001, 0), (0, 50_000, 0)],
        "o-o",
    ),
    (
        "the reservation is not multiplied",
        BURNDOWN,
        {**TPM, "output_weight": 5.0},
        [(0, 0, 50_000), (0, 0, 50_000), (0, 1, 0)],
        "oo-",
    ),
    ("requests a minute", "docs.aws.amazon.com quotas-runtime", {"requests": 2 / 60}, [(0.0,)] * 3, "oo-"),
    (
        "tokens a day",
        "docs.aws.amazon.com quotas-runtime",
        {"tokens_per_day": 1000},
        [(0, 500, 500), (60, 1, 0), (100, 1, 0)],
        "o-o",
    ),
    (
        "a refused call costs nothing",
        "not documented; not confirmed",
        TPM,
        [(0, 1, 90_000), (0, 1, 90_000), (0, 9998, 1)],
        "o-o",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("bedrock", **words).letters(calls) == letters


@pytest.mark.parametrize(("max_tokens", "concurrent"), [(1000, 1333), (None, 31)])
def test_how_many_calls_fit_at_once(max_tokens, concurrent):
    """HEALTH: 500 input tokens, 2M a minute."""
    desk = Desk("bedrock", tokens=2e6 / MINUTE)
    assert desk.letters([(0.0, 500, max_tokens)] * 1400).count("o") == concurrent


def test_failed_calls_give_their_tokens_back():
    """BURNDOWN: what is not used is replenished."""
    desk = Desk("bedrock", **TPM)
    desk.account.failed(desk.ask(0.0, 50_000, 50_000), 0.0)
    assert desk.account.snapshot(0.0) == [100_000]


def test_more_output_than_reserved_is_charged_where_it_stands_then():
    desk = Desk("bedrock", **TPM, output_weight=10.0)
    ticket = desk.ask(0.0, 0, 1000)
    desk.account.settle(ticket, Usage(0, 1000, 0), 60.0)
    assert desk.account.snapshot(60.0) == [pytest.approx(91_000)], "full again, then nine times the reservation"


REFUSALS = [
    (
        "tokens",
        "aws-samples/amazon-bedrock-client-for-mac#99",
        "Too many tokens, please wait before trying again.",
        e.RateLimited,
    ),
    ("requests", "lobehub/lobehub#3994", "Too many requests, please wait before trying again.", e.RateLimited),
    (
        "tokens_per_day",
        "minorun365/agent-book#29",
        "Too many tokens per day, please wait before trying again.",
        e.QuotaExhausted,
    ),
]


@pytest.mark.parametrize(("word", "source", "message", "kind"), REFUSALS)
def test_refusals_say_which_but_not_when(word, source, message, kind):
    desk = Desk("bedrock", **{word: 1 if word == "tokens_per_day" else 1 / MINUTE})
    desk.ask(0.0, 1, 0)
    answer = desk.refusal(0.0, 1, 0)
    assert (answer.status, answer.kind, body(answer), answer.retry_after_s) == (429, kind, {"message": message}, None)
    assert list(answer.headers) == ["x-amzn-errortype"]
    assert answer.headers["x-amzn-errortype"].startswith("ThrottlingException:http://")


FAILURES = [
    ("overloaded", CODES, e.Overloaded, 503, "ServiceUnavailableException"),
    ("server_error", CODES, e.ServerError, 500, "InternalServerException"),
    ("auth", CODES, e.AuthError, 403, "UnrecognizedClientException"),
    ("context_too_long", "aws-samples/bedrock-chat#95", e.ContextTooLong, 400, "ValidationException"),
    ("quota", "minorun365/agent-book#29", e.QuotaExhausted, 429, "ThrottlingException"),
    ("slow_down", CODES, e.RateLimited, 429, "ThrottlingException"),
    ("content_filter", "not confirmed", e.ContentFiltered, 400, "ValidationException"),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "word"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, word):
    answer = Desk("bedrock").failure(kind)
    assert (answer.kind, answer.status, answer.headers["x-amzn-errortype"].partition(":")[0]) == (error, status, word)


def test_no_headers_on_success_and_an_exception_event_in_the_stream():
    """API_runtime_ConverseStream: modelStreamErrorException, with its own status 424."""
    assert Desk("bedrock", **TPM).headers(0.0) == {}
    answer = Desk("bedrock").failure("in_stream")
    assert (answer.status, answer.event, list(body(answer))) == (200, "modelStreamErrorException", ["message"])
