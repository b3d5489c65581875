"""Bodies that are read and refused, and errors as OpenAI's clients know them."""

import json

import pytest

import llmsim as ls
from llmsim.errors import (
    AllUpstreamsFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ConnectionFailed,
    ContextTooLong,
    DeadlineExceeded,
    Overloaded,
    RateLimited,
    Rejected,
    StreamBroken,
    TtftTimeout,
)
from llmsim.production.openai_words import error_answer, read_request

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "JSON object"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, r"messages\[0\].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, r"messages\[0\].content: text only"),
        ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\].content"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": HELLO, "n": 2}, "n: "),
        ({"messages": HELLO, "seed": 4}, "seed"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"messages": HELLO, "max_tokens": 1.5}, "max_tokens"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature"),
        ({"messages": HELLO, "response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_bodies_that_are_refused(body, said):
    with pytest.raises(BadRequest, match=said):
        read_request(body, "r")


def test_bodies_that_are_read():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = {
        "model": "rag",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "n": 1, "top_p": 1.0, "stop": None, "tools": [], "user": "u", "metadata": {"a": "b"},
    }  # fmt: skip
    request = read_request(body, "r", routes=frozenset({"rag"}))
    assert request.messages == (ls.Message("user", "ab"),)
    assert json.loads(request.response_schema) == schema
    assert (request.route, request.user, request.stream, request.max_tokens) == ("rag", "u", False, None)


def test_errors_have_the_status_that_callers_can_act_on():
    cases = {
        RateLimited(): 429, BudgetExceeded(): 429, Rejected(): 503, CircuitOpen(): 503, Overloaded(): 503,
        ConnectionFailed(): 502, StreamBroken(): 502, AuthError(upstream="a"): 502, TtftTimeout(): 504,
        DeadlineExceeded(): 504, ContextTooLong(): 400, TimeoutError(): 504, ValueError(): 500,
        AllUpstreamsFailed(causes=[RateLimited(), RateLimited()]): 429,
        AllUpstreamsFailed(causes=[RateLimited(), ConnectionFailed()]): 503,
    }  # fmt: skip
    assert {error: error_answer(error)[0] for error in cases} == cases
    secret = ConnectionFailed("no answer from https://inner.example: 'sk-live-1234'", upstream="a")
    assert "inner" not in json.dumps(error_answer(secret)[2])
    assert "too long" in error_answer(ContextTooLong("the prompt is too long"))[2]["error"]["message"]
