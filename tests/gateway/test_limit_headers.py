"""What the vendors' headers say, against the accounts that wrote them."""

import math

import pytest
from providers.dialects.desk import Desk

from llmsim.algorithms.quota import QuotaBook
from llmsim.gateway.limit_headers import read_limits
from llmsim.types import Request


def test_openai_tells_what_is_left_and_how_fast_it_comes_back():
    desk = Desk("openai", requests=500 / 60, tokens=30_000 / 60)
    told = read_limits(desk.headers(0.0, 4000, 8000))
    assert told["requests"].limit == 500
    assert told["requests"].remaining == 499
    assert told["requests"].refill_per_s == pytest.approx(500 / 60, rel=0.01)
    assert (told["tokens"].limit, told["tokens"].remaining) == (30_000, 22_000)
    assert told["tokens"].refill_per_s == pytest.approx(500.0, rel=1e-3)


def test_limits_of_other_times_than_a_minute():
    headers = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "4"}
    told = read_limits({**headers, "x-ratelimit-reset-requests": "3s"})["requests"]
    assert told.refill_per_s == pytest.approx(5 / 3, rel=1e-3)  # up to a sixth too slow, never too fast


def test_groqs_requests_are_those_of_a_day():
    desk = Desk("groq", requests_per_day=1000, tokens=6000 / 60)
    told = read_limits(desk.headers(0.0, 100, 100))
    assert (told["requests"].limit, told["requests"].remaining) == (1000, 999)
    assert told["requests"].refill_per_s == pytest.approx(1000 / 86400, rel=1e-3)


def test_anthropic_names_a_moment_so_its_minute_is_taken():
    desk = Desk("anthropic", requests=50 / 60, input_tokens=30_000 / 60, output_tokens=8000 / 60, reserve_output=True)
    told = read_limits(desk.headers(0.0, 3000, 1000))
    assert set(told) == {"requests", "tokens", "input_tokens", "output_tokens"}
    assert told["input_tokens"] == (30_000, 27_000, 500)
    assert told["output_tokens"] == (8000, 7000, pytest.approx(8000 / 60))
    assert told["requests"] == (50, 49, pytest.approx(50 / 60))


def test_azure_has_no_reset():
    desk = Desk("azure", requests=600 / 60, tokens=60_000 / 60)
    told = read_limits(desk.headers(0.0, 1000, 1000))
    assert told["tokens"] == (60_000, 58_000, 1000)


@pytest.mark.parametrize("dialect", ["gemini", "bedrock", "vllm", "generic"])
def test_who_says_nothing_has_no_limits_that_are_known(dialect):
    desk = Desk(dialect) if dialect == "vllm" else Desk(dialect, requests=10 / 60)
    assert read_limits(desk.headers()) == {}


def test_a_refusal_tells_too():
    desk = Desk("openai", requests=60 / 60)
    desk.letters([()] * 60)
    refused = desk.refusal(0.0)
    assert read_limits(refused.headers)["requests"].remaining == 0


@pytest.mark.parametrize("text", ["", "soon", "1x", "-3s", "6m0", None])
def test_what_makes_no_sense_is_left_out(text):
    headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "30"}
    odd = headers | ({} if text is None else {"x-ratelimit-reset-requests": text})
    refill = read_limits(odd)["requests"].refill_per_s
    assert refill == (pytest.approx(29 / 360, rel=1e-3) if text == "6m0" else 1.0)
    assert read_limits(headers | {"x-ratelimit-limit-requests": "many"}) == {}


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "groq"])
def test_a_book_kept_from_the_headers_never_promises_what_the_account_refuses(dialect):
    """One client, one account: whenever the book sees room, there is room."""
    words = {
        "openai": {"requests": 1.0, "tokens": 100.0},
        "anthropic": {"requests": 1.0, "input_tokens": 50.0, "output_tokens": 50.0, "reserve_output": True},
        "groq": {"requests_per_day": 86_400 * 0.4, "tokens": 100.0},
    }[dialect]
    desk, book, sent, now = Desk(dialect, **words), QuotaBook(), 0, 0.0
    from llmsim.gateway.policies._strategies import Outputs

    outputs = Outputs(None)
    for number in range(400):
        now += (0.1, 0.9, 2.3)[number % 3]
        size = (20, 400, 1500)[number % 7 % 3]
        amounts = outputs.amounts(Request("0/0/0", input_tokens=size, max_tokens=size // 2))
        if book.wait_s(amounts, now) > 0:
            continue
        ticket = desk.ask(now, size, size // 2, used=size // 2)
        assert desk.account is not None
        call = book.send(amounts, now)
        headers = desk.dialect.success(desk.account, ticket)  # an AttributeError here: it was refused
        book.told(call, read_limits(headers), now)
        sent += 1
    assert sent > 50
    assert not math.isnan(book.share(now))
