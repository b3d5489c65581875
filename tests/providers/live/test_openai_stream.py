"""Reading a completion: what the server may do with bytes, events, pauses and ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from loopback import Answer, Cut, LoopbackServer, Stall, Wait, chunk_json, completion, event, stream, usage_json
from stolen import Stolen

from llmsim import errors as e
from llmsim.gateway.contract import Provider
from llmsim.providers.live import OpenAIChat
from llmsim.types import Message, Request, Usage

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("system", "be short"), Message("user", "hi")))
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
READ = pytest.mark.parametrize("read", [True, False], ids=["read", "iterate"])


def sse(*steps: Any, **answer: Any) -> Answer:
    return Answer(steps, headers={**SSE, **answer.pop("headers", {})}, chunked=True, **answer)


async def whole(_: Any, provider: OpenAIChat) -> tuple[str, Any]:
    response = await provider.send(ASK)
    text = "".join([chunk.text async for chunk in response])
    return text, response


def test_it_is_a_provider() -> None:
    assert isinstance(OpenAIChat("p", base_url="http://127.0.0.1:1", model="m"), Provider)


def test_streamed(live: Any) -> None:
    text, response = live(stream("Hel", "lo", "!", usage=(12, 7)), whole)
    assert text == "Hello!"
    assert (response.finish_reason, response.usage) == ("stop", Usage(12, 7, 0))
    assert (response.upstream, response.model, response.status) == ("primary", "m", 200)
    assert response.outcome.kind == "ok"
    assert response.tokens_delivered == 7  # as the server counts them; there were three chunks
    assert response.headers["x-llmsim-usage"] == "reported"


def test_not_streamed(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> Any:
        response = await provider.send(ASK._replace(stream=False, model="other"))
        return await response.read(), response

    text, response = live(completion("Hello!", finish_reason="length", usage=(12, 7)), use)
    assert text == "Hello!"
    assert (response.finish_reason, response.usage, response.model) == ("length", Usage(12, 7), "other")
    assert response.tokens_delivered == 7


def test_cached_input_tokens(live: Any) -> None:
    last = event(chunk_json(None, usage=usage_json(100, 5, cached_tokens=80)))
    _, response = live(sse(event(chunk_json({"content": "a"}, "stop")), last, event("[DONE]")), whole)
    assert response.usage == Usage(100, 5, 80)


def test_the_request_body(live: Any) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> list[Any]:
        plain = ASK._replace(stream=False)
        asked = ASK._replace(max_tokens=9, temperature=0.0, response_schema='{"type": "object"}', model="big")
        for request in (plain, asked):
            await (await provider.send(request)).read()
        return server.seen

    plain, asked = live([completion("x"), stream("x")], use, extra_body={"seed": 1}, extra_headers={"X-Team": "search"})
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    assert plain.body == {"model": "m", "messages": messages, "stream": False, "seed": 1}
    assert asked.body == {
        "model": "big",
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        "seed": 1,
    }
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert (asked.headers["accept"], plain.headers["accept"]) == ("text/event-stream", "application/json")
    assert (asked.headers["x-team"], asked.headers["content-type"]) == ("search", "application/json")
    assert "authorization" not in asked.headers


def test_include_usage_can_be_turned_off(live: Any) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> Any:
        await (await provider.send(ASK)).read()
        return server.seen[0].body

    assert "stream_options" not in live(stream("x"), use, include_usage=False)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request("r9"), "'r9' has no messages"),
        (ASK._replace(response_schema="{"), "is not JSON"),
        (ASK._replace(tools=("search",)), "tools"),
    ],
)
def test_requests_that_cannot_be_sent(live: Any, request_: Request, says: str) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        with pytest.raises(e.BadRequest, match=says):
            await provider.send(request_)
        assert not server.seen

    live(stream("x"), use)


# -- the first chunk -------------------------------------------------------------------------------------------------


def test_the_first_chunk_is_the_first_content(live: Any) -> None:
    """A role, an empty string, null and thinking are no content; a role together with content is."""

    async def first(_: Any, provider: OpenAIChat) -> tuple[float, float, str]:
        with Stolen() as stolen:
            start = time.perf_counter()
            response = await provider.send(ASK)
            took = time.perf_counter() - start
            late = stolen.s
        return took, late, await response.read()

    for opening in ({"role": "assistant", "content": ""}, {"content": None}, {"reasoning_content": "hm"}, {}):
        script = sse(event(chunk_json(opening)), Wait(0.06), event(chunk_json({"content": "a"}, "stop")))
        took, late, text = live(script, first)
        assert 0.05 < took < 0.5 + late
        assert text == "a"
    script = stream("a", "b", role_first=False, gap_s=0.2)
    took, late, text = live(script, first)
    assert took < 0.15 + late
    assert text == "ab"


def test_an_answer_without_content(live: Any) -> None:
    text, response = live(stream(finish_reason="tool_calls", usage=(5, 3)), whole)
    assert (text, response.finish_reason, response.usage) == ("", "tool_calls", Usage(5, 3))


# -- the end ---------------------------------------------------------------------------------------------------------


@READ
def test_ends(live: Any, read: bool) -> None:
    """Complete is what has a finish reason or a [DONE]; usage is the server's, or visibly estimated."""

    async def use(_: Any, provider: OpenAIChat) -> Any:
        response = await provider.send(ASK._replace(input_tokens=50))
        text = await response.read() if read else "".join([chunk.text async for chunk in response])
        return text, response.finish_reason, response.usage, response.headers["x-llmsim-usage"]

    parts = ["a", "b"]
    assert live(stream(*parts, usage=(10, 20)), use) == ("ab", "stop", Usage(10, 20), "reported")
    assert live(stream(*parts, usage=(10, 20), done=False), use) == ("ab", "stop", Usage(10, 20), "reported")
    assert live(stream(*parts, usage=None), use) == ("ab", "stop", Usage(50, 2), "estimated")
    assert live(stream(*parts, usage=None, done=False), use) == ("ab", "stop", Usage(50, 2), "estimated")
    assert live(stream(*parts, usage=(10, 20), finish_reason=None), use) == ("ab", "unknown", Usage(10, 20), "reported")
    with pytest.raises(e.StreamBroken, match="without a finish reason") as caught:
        live(stream(*parts, finish_reason=None, done=False), use)
    assert caught.value.tokens_delivered == 2


def test_what_fails_after_the_finish_reason_does_not_spoil_the_answer(live: Any) -> None:
    finished = [event(chunk_json({"content": "ab"}, "stop"))]
    for rest in ([Cut()], [Wait(0.02), Cut(reset=True)], [event('{"error": {"message": "late"}}')], [event("{")]):
        text, response = live(sse(*finished, *rest), whole)
        assert (text, response.finish_reason, response.outcome.kind) == ("ab", "stop", "ok")


def test_a_server_that_forgets_to_end(live: Any) -> None:
    """After the finish reason only the usage is missing, and nobody waits long for that."""

    async def use(server: LoopbackServer, provider: OpenAIChat) -> float:
        response = await provider.send(ASK)
        response.limit(gap_s=0.1)
        start = time.perf_counter()
        assert await response.read() == "ab"
        took = time.perf_counter() - start
        assert (response.finish_reason, response.headers["x-llmsim-usage"]) == ("stop", "estimated")
        assert await server.seen[0].wait_end() == "client_left"
        return took

    assert 0.08 < live(sse(event(chunk_json({"content": "ab"}, "stop")), Stall()), use) < 1.0


def test_usage_is_estimated_where_the_server_reports_none(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> Any:
        response = await provider.send(ASK._replace(stream=False))
        return response.usage, response.headers["x-llmsim-usage"]

    assert live(completion("x" * 41, usage=None), use) == (Usage(3, 11), "estimated")


def test_json_in_answer_to_a_stream_request(live: Any) -> None:
    text, response = live(completion("all at once"), whole)
    assert (text, response.finish_reason) == ("all at once", "stop")


# -- bytes -----------------------------------------------------------------------------------------------------------

PIECES = ("Grü", "ß", "世界")
_SHORT = [{"choices": [{"delta": {"content": piece}}]} for piece in PIECES]
_SHORT += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
_SHORT += [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}]
_TEXTS = [json.dumps(data, ensure_ascii=False, separators=(",", ":")) for data in _SHORT]
WIRE = b"".join(event(text) for text in [*_TEXTS, "[DONE]"])


def _spell(newline: bytes) -> Callable[[bytes], bytes]:
    return lambda wire: wire.replace(b"\n", newline)


#: All points once, every third by default.
STEPS = [3, pytest.param(1, marks=pytest.mark.slow)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("spell", [_spell(b"\n"), _spell(b"\r\n"), _spell(b"\r")], ids=["lf", "crlf", "cr"])
def test_chunk_boundaries_anywhere(live: Any, spell: Callable[[bytes], bytes], step: int) -> None:
    wire = spell(WIRE)

    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        for cut in range(1, len(wire), step):
            server.script = sse(wire[:cut], wire[cut:])
            response = await provider.send(ASK)
            texts = [chunk.text async for chunk in response]
            assert texts == [*PIECES, ""], cut  # the last one has the token that came in company
            assert (response.usage, response.finish_reason) == (Usage(3, 4), "stop"), cut

    live(sse(), use)


@pytest.mark.parametrize("step", STEPS)
def test_truncation_anywhere(live: Any, step: int) -> None:
    """However many bytes arrive before the cut: the complete events' content, then the right end."""

    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        for cut in range(0, len(WIRE), step):
            complete = [json.loads(line[6:]) for line in WIRE[:cut].split(b"\n\n")[:-1] if line != b"data: [DONE]"]
            choices = [found["choices"][0] for found in complete if found["choices"]]
            expected = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
            finished = any(choice.get("finish_reason") for choice in choices)
            server.script = sse(*([WIRE[:cut]] if cut else []), Cut())
            texts: list[str] = []
            try:
                response = await provider.send(ASK)
                async for chunk in response:
                    texts += [chunk.text] if chunk.text else []  # not all at once: what came before a failure counts
                assert finished, cut
            except e.StreamBroken as error:
                assert not finished, cut
                assert error.tokens_delivered == len(expected), cut
            assert texts == expected, cut

    live(sse(), use)


def test_every_byte_on_its_own(live: Any) -> None:
    text, response = live(sse(*[bytes([byte]) for byte in WIRE]), whole)
    assert text == "".join(PIECES)
    assert response.usage == Usage(3, 4)


def test_comments_and_multi_line_data_and_other_fields(live: Any) -> None:
    first = json.dumps(chunk_json({"content": "a"}), indent=1).replace("\n", "\ndata: ")
    script = sse(
        b": OPENROUTER PROCESSING\n\n",
        b"retry: 3000\nid: 7\nevent: message\n",
        b"data: " + first.encode() + b"\n\n",
        b":\n\nevent: ping\n\nunknown: field\ndata\n\n",
        b"data:" + json.dumps(chunk_json({"content": "b"}, "stop")).encode() + b"\n\n",
        b"data:[DONE]\n\n",
    )
    text, response = live(script, whole)
    assert (text, response.finish_reason) == ("ab", "stop")


def test_content_in_typed_parts(live: Any) -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    text, _ = live(sse(event(chunk_json({"content": parts}, "stop"))), whole)
    assert text == "ab"


def test_a_huge_event(live: Any) -> None:
    text, _ = live(stream("x" * 3_000_000), whole)
    assert len(text) == 3_000_000


def test_gzip(live: Any) -> None:
    packed = gzip.compress(WIRE)
    script = sse(packed[:40], packed[40:], headers={"Content-Encoding": "gzip"})
    assert live(script, whole)[0] == "".join(PIECES)


# -- limits ----------------------------------------------------------------------------------------------------------


@READ
def test_silence_longer_than_the_limit(live: Any, read: bool) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> tuple[e.StreamStalled, str, float, float]:
        response = await provider.send(ASK)
        response.limit(gap_s=0.2)
        tap = response.tap()
        with Stolen() as stolen:
            start = time.perf_counter()
            with pytest.raises(e.StreamStalled) as caught:
                if read:
                    await response.read()
                else:
                    [chunk async for chunk in response]
            took, late = time.perf_counter() - start, stolen.s
        assert await server.seen[0].wait_end() == "client_left"
        assert response.tokens_delivered == 3  # what read() had gathered counts too
        return caught.value, tap.text, took, late

    error, text, took, late = live(stream("a", "b", "c", "d", gap_s=0.04, after=3, then=[Stall()]), use)
    assert (error.tokens_delivered, error.upstream, text) == (3, "primary", "abc")
    assert isinstance(error, TimeoutError)
    assert 0.27 < took < 0.8 + late  # two gaps of 40 ms and the limit


@READ
def test_not_complete_in_time(live: Any, read: bool) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> tuple[Any, float, float]:
        response = await provider.send(ASK)
        now = asyncio.get_running_loop().time
        with Stolen() as stolen:
            start = now()
            gone = e.DeadlineExceeded
            response.limit(gap_s=5.0, until_s=start + 0.25, late=lambda tokens: gone(tokens_delivered=tokens))
            with pytest.raises(e.DeadlineExceeded) as caught:
                if read:
                    await response.read()
                else:
                    [chunk async for chunk in response]
            took, late = now() - start, stolen.s
        assert await server.seen[0].wait_end() == "client_left"
        return caught.value, took, late

    error, took, late = live(stream(*"abcdefgh", gap_s=0.1), use)
    assert error.tokens_delivered == 3 or (error.tokens_delivered in (1, 2) and late > 0.02)  # at 0, 100 and 200 ms
    assert 0.24 < took < 0.5 + late


def test_a_limit_without_an_error_of_its_own_is_a_total_timeout(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> None:
        response = await provider.send(ASK)
        response.limit(until_s=asyncio.get_running_loop().time() + 0.05)
        with pytest.raises(e.TotalTimeout):
            await response.read()

    live(stream("a", "b", after=1, then=[Stall()]), use)


def test_limits_that_are_kept_change_nothing(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> str:
        response = await provider.send(ASK)
        response.limit(gap_s=1.0, until_s=asyncio.get_running_loop().time() + 5)
        return await response.read()

    assert live(stream(*"abcdef", gap_s=0.01), use) == "abcdef"


def test_a_reader_that_comes_too_late(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> None:
        response = await provider.send(ASK)
        response.limit(until_s=asyncio.get_running_loop().time() + 0.03)
        await asyncio.sleep(0.06)
        assert (await anext(response)).text == "a"  # it was here in time
        with pytest.raises(e.TotalTimeout) as caught:
            await anext(response)
        assert caught.value.tokens_delivered == 1

    live(stream("a", "b", "c"), use)


def test_read_gives_the_rest_of_a_half_read_answer(live: Any) -> None:
    async def use(_: Any, provider: OpenAIChat) -> tuple[str, str]:
        response = await provider.send(ASK)
        return (await anext(response)).text, await response.read()

    assert live(stream("a", "b", "c"), use) == ("a", "bc")
