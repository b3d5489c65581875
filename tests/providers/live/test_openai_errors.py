"""Every way to fail, over real sockets, ends in its place of the error tree."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from loopback import Answer, Cut, Wait, chunk_json, completion, event, failure, hang_up, stream

from llmsim import errors as e
from llmsim.providers.live import OpenAIChat
from llmsim.providers.live.errors import error_object, retry_after
from llmsim.types import Message, Request

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("user", "hi"),))
BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])

STATUSES: list[tuple[int, dict[str, Any], type[e.GatewayError]]] = [
    (429, {"code": "rate_limit_exceeded", "type": "tokens"}, e.RateLimited),
    (429, {"code": "slow_down", "type": "rate_limit_error"}, e.RateLimited),
    (429, {}, e.RateLimited),
    (429, {"type": "insufficient_quota"}, e.QuotaExhausted),
    (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, e.QuotaExhausted),
    (429, {"code": "credit_balance_exhausted"}, e.QuotaExhausted),
    (429, {"code": "organization_spend_limit_exceeded"}, e.QuotaExhausted),
    (429, {"code": "project_spend_limit_exceeded"}, e.QuotaExhausted),
    (429, {"code": "organization_usage_limit_exceeded"}, e.QuotaExhausted),
    (402, {"code": 402}, e.QuotaExhausted),
    (500, {"type": "server_error"}, e.ServerError),
    (502, {}, e.ServerError),
    (504, {}, e.ServerError),
    (503, {"code": "server_is_overloaded", "type": "service_unavailable_error"}, e.Overloaded),
    (529, {"type": "overloaded_error"}, e.Overloaded),
    (408, {}, e.ServerError),
    (401, {"code": "invalid_api_key"}, e.AuthError),
    (403, {}, e.AuthError),
    (400, {"type": "invalid_request_error"}, e.BadRequest),
    (400, {"code": "context_length_exceeded"}, e.ContextTooLong),
    (400, {"code": 400, "type": "exceed_context_size_error"}, e.ContextTooLong),
    (400, {"message": "This model's maximum context length is 8192 tokens. However, you requested"}, e.ContextTooLong),
    (400, {"code": "content_filter"}, e.ContentFiltered),
    (404, {"code": "model_not_found"}, e.BadRequest),
    (405, {}, e.BadRequest),
    (413, {}, e.BadRequest),
    (422, {}, e.BadRequest),
]


async def _failure_of(provider: OpenAIChat, request: Request) -> e.GatewayError:
    with pytest.raises(e.GatewayError) as caught:
        await provider.send(request)
    assert caught.value.upstream == "primary"
    return caught.value


@pytest.mark.matrix
@BOTH
@pytest.mark.parametrize(("status", "fields", "kind"), STATUSES)
def test_status(live: Any, streamed: bool, status: int, fields: dict[str, Any], kind: type[e.GatewayError]) -> None:
    script = failure(status, **{"message": "their words", **fields}, headers={"X-Request-Id": "req-7"})
    error = live(script, lambda _, provider: _failure_of(provider, ASK._replace(stream=streamed)))
    assert type(error) is kind
    assert error.status == status
    assert str(error) == fields.get("message", "their words")
    assert error.headers["x-request-id"] == "req-7"
    assert json.loads(error.body)["error"]["message"] == str(error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "HTTP 503"),
        (b"upstream connect error", "upstream connect error"),
        (b"<html>" + b"x" * 5000, "HTTP 503"),
        (b'{"error": "plain"}', "plain"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        (b'{"object": "error", "message": "vLLM style", "code": 503}', "vLLM style"),
        (b'[{"error": {"message": "in a list"}}]', "in a list"),
        (b'{"error": {"message": null}}', "HTTP 503"),
    ],
)
def test_error_bodies_of_all_shapes(live: Any, body: bytes, message: str) -> None:
    error = live(Answer([body], status=503), lambda _, provider: _failure_of(provider, ASK))
    assert (type(error), str(error), error.body) == (e.Overloaded, message, body.decode())


def test_status_counts_even_when_the_error_body_is_cut(live: Any) -> None:
    script = Answer([b'{"err', Cut()], status=429, headers={"Content-Length": "500", "Retry-After": "3"})
    error = live(script, lambda _, provider: _failure_of(provider, ASK))
    assert type(error) is e.RateLimited
    assert error.retry_after_s == 3.0


def test_a_redirect_says_what_to_write_instead(live: Any) -> None:
    script = failure(308, headers={"Location": "https://elsewhere.example/v1/chat/completions"})
    error = live(script, lambda _, provider: _failure_of(provider, ASK))
    assert type(error) is e.BadRequest
    assert "https://elsewhere.example/v1/chat/completions" in str(error)


def test_a_200_that_is_no_completion(live: Any) -> None:
    for body in (b"<html>Welcome</html>", b'{"ok": true}', b"[]", b'{"choices": []}'):
        for streamed in (True, False):
            error = live(Answer([body]), lambda _, provider: _failure_of(provider, ASK._replace(stream=streamed)))
            assert type(error) is e.ServerError
            assert "base_url" in str(error)


NOW = "Mon, 23 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1250"}, 1.25),
        ({"retry-after": "2", "retry-after-ms": "1250"}, 1.25),
        ({"retry-after": "2", "x-ms-retry-after-ms": "1250.5"}, 1.2505),
        ({"retry-after": "2", "retry-after-ms": "soon"}, 2.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": NOW}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:59:00 GMT", "date": NOW}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:30 +0100", "date": NOW}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_without_a_date_header() -> None:
    assert retry_after({"retry-after": "Mon, 23 Nov 2048 10:00:00 GMT"}) > 1e6


def test_retry_after_reaches_the_error(live: Any) -> None:
    script = [failure(429, headers={"Retry-After-Ms": "40"}), failure(503, headers={"Retry-After": "7"})]

    async def use(_: Any, provider: OpenAIChat) -> list[float | None]:
        return [(await _failure_of(provider, ASK)).retry_after_s for _ in range(2)]

    assert live(script, use) == [0.04, 7.0]


EVENTS: list[tuple[Any, type[e.GatewayError], int]] = [
    ({"error": {"message": "m", "code": "rate_limit_exceeded", "type": "requests"}}, e.RateLimited, 429),
    ({"error": {"message": "m", "type": "insufficient_quota"}}, e.QuotaExhausted, 429),
    ({"error": {"message": "m", "type": "overloaded_error"}}, e.Overloaded, 529),
    ({"error": {"message": "m", "type": "server_error"}}, e.ServerError, 500),
    ({"error": {"message": "m", "code": 502}}, e.ServerError, 502),
    ({"error": {"message": "m", "code": "429"}}, e.RateLimited, 429),
    ({"error": {"message": "m", "code": 400, "type": "exceed_context_size_error"}}, e.ContextTooLong, 400),
    ({"error": {"message": "m", "type": "invalid_request_error"}}, e.BadRequest, 400),
    ({"error": {"message": "m", "code": "invalid_api_key"}}, e.AuthError, 401),
    ({"error": "m"}, e.ServerError, 500),
    ({"object": "error", "message": "m", "code": 503}, e.Overloaded, 503),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, e.Overloaded, 529),
]


@pytest.mark.matrix
@pytest.mark.parametrize(("data", "kind", "status"), EVENTS)
def test_error_inside_a_200(live: Any, data: Any, kind: type[e.GatewayError], status: int) -> None:
    """Before content it is what it says, with the status it should have had; after content the stream is broken."""
    before = stream("a", after=0, then=[event(data)])
    error = live(before, lambda _, provider: _failure_of(provider, ASK))
    assert (type(error), error.status, str(error)) == (kind, status, "m")
    assert json.loads(error.body) == data

    whole = Answer([json.dumps(data).encode()])
    error = live(whole, lambda _, provider: _failure_of(provider, ASK._replace(stream=False)))
    assert (type(error), error.status, str(error)) == (kind, status, "m")

    async def use(_: Any, provider: OpenAIChat) -> e.StreamBroken:
        response = await provider.send(ASK)
        with pytest.raises(e.StreamBroken) as caught:
            [chunk async for chunk in response]
        return caught.value

    broken = live(stream("a", "b", "c", after=2, then=[event(data)]), use)
    assert (broken.tokens_delivered, str(broken)) == (2, "m")
    assert json.loads(broken.body) == data


def test_an_sse_event_named_error_with_plain_text(live: Any) -> None:
    script = stream("a", after=0, then=[b"event: error\ndata: no capacity\n\n"])
    error = live(script, lambda _, provider: _failure_of(provider, ASK))
    assert (type(error), str(error)) == (e.ServerError, "no capacity")


@BOTH
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_hanging_up_without_an_answer(live: Any, streamed: bool, reset: bool) -> None:
    error = live(hang_up(reset=reset), lambda _, provider: _failure_of(provider, ASK._replace(stream=streamed)))
    assert type(error) is e.ConnectionFailed
    assert error.status is None
    assert "http://127.0.0.1" in str(error)


@BOTH
def test_not_http(live: Any, streamed: bool) -> None:
    script = Answer([b"SSH-2.0-OpenSSH_9.9\r\n"], head=False, keep_alive=False)
    error = live(script, lambda _, provider: _failure_of(provider, ASK._replace(stream=streamed)))
    assert type(error) is e.ConnectionFailed


def test_nobody_listens() -> None:
    async def main() -> e.GatewayError:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with OpenAIChat("primary", base_url=f"http://127.0.0.1:{port}/v1", model="m", api_key_env=None) as up:
            return await _failure_of(up, ASK)

    error = asyncio.run(main())
    assert type(error) is e.ConnectionFailed
    assert error.__cause__ is None
    assert error.__context__ is None  # httpx's frames hold the key


def test_connecting_takes_too_long() -> None:
    async def main() -> float:
        with socket.socket() as deaf:  # its queue of one is taken, so further SYNs go unanswered
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
            async with OpenAIChat("primary", base_url=url, model="m", api_key_env=None, connect_timeout_s=0.1) as up:
                start = asyncio.get_running_loop().time()
                error = await _failure_of(up, ASK)
                took = asyncio.get_running_loop().time() - start
            for filler in fillers:
                filler.close()
        assert type(error) is e.ConnectionFailed
        assert "ConnectTimeout" in str(error)
        return took

    assert 0.08 < asyncio.run(main()) < 1.0


def test_cut_between_head_and_content_is_a_broken_stream(live: Any) -> None:
    for script in (stream("a", after=0), Answer([Cut()], headers={"Content-Length": "9"})):
        for streamed in (True, False):
            error = live(script, lambda _, provider: _failure_of(provider, ASK._replace(stream=streamed)))
            assert type(error) is e.StreamBroken
            assert (error.tokens_delivered, error.status) == (0, 200)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_cut_in_the_middle(live: Any, reset: bool) -> None:
    async def use(_: Any, provider: OpenAIChat) -> tuple[str, e.StreamBroken, Any]:
        response = await provider.send(ASK)
        text = ""
        with pytest.raises(e.StreamBroken) as caught:
            async for chunk in response:
                text += chunk.text
        return text, caught.value, response

    text, error, response = live(stream("a", "b", "c", after=2, then=[Wait(0.05), Cut(reset)]), use)
    assert text == "ab"
    assert (error.tokens_delivered, error.upstream) == (2, "primary")
    assert response.outcome.kind == "error"
    assert response.usage.output_tokens == 2
    assert response.headers["x-llmsim-usage"] == "estimated"


def test_an_unreadable_event_breaks_the_stream(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> e.StreamBroken:
        response = await provider.send(ASK)
        with pytest.raises(e.StreamBroken) as caught:
            await response.read()
        return caught.value

    for garbage in ('{"choices": [{"de', "[1]", "null", '"text"'):
        error = live(stream("a", "b", after=1, then=[event(garbage)]), use)
        assert (error.tokens_delivered, error.body) == (1, garbage)
    gave_up = live(stream("a", "b", after=1, then=[event(chunk_json({}, "error"))]), use)
    assert "gave up" in str(gave_up)


def test_no_error_object_in_ordinary_answers() -> None:
    for answer in (None, [], {}, 3, "x", chunk_json({"content": "error"}), chunk_json({}, error=None)):
        assert error_object(answer) is None


def test_the_next_call_after_any_failure_works(live: Any) -> None:
    bad = [failure(500), hang_up(), stream("a", after=0), failure(429)]

    async def use(_: Any, provider: OpenAIChat) -> str:
        for _ in bad:
            await _failure_of(provider, ASK)
        return await (await provider.send(ASK._replace(stream=False))).read()

    assert live([*bad, completion("fine")], use) == "fine"
