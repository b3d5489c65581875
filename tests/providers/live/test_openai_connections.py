"""Connections: closed when nobody wants the answer, used again when they can be, and never left behind."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loopback import Answer, LoopbackServer, Stall, Wait, chunk_json, completion, event, hang, stream

from llmsim import errors as e
from llmsim.providers.live import OpenAIChat
from llmsim.providers.live.sockets import SocketWatch
from llmsim.types import Message, Request, Response, Usage

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("user", "hi"),))
SOON = 1.0  #: within which a server must have noticed, s


async def _give_up(provider: OpenAIChat, after_s: float = 0.05) -> None:
    """Cancel a call while it waits for its first chunk."""
    call = asyncio.create_task(provider.send(ASK))  # type: ignore[arg-type]
    await asyncio.sleep(after_s)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize(
    "script",
    [hang(), stream("a", after=0, then=[Stall()]), stream("a", ttft_s=5.0), Answer([Stall()], chunked=True)],
    ids=["before the head", "before content", "slow head", "in a body"],
)
def test_cancelling_before_the_first_chunk_closes_the_connection(live: Any, script: Answer) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> Usage:
        await _give_up(provider)
        assert await server.seen[0].wait_end(SOON) == "client_left"
        return provider.cancelled_usage(ASK)

    assert live(script, use) == Usage()


def test_cancelling_a_call_that_is_not_streamed(live: Any) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        call = asyncio.create_task(provider.send(ASK._replace(stream=False)))
        async with asyncio.timeout(SOON):
            while not server.seen:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.03)  # in the middle of the answer, if there is one
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await server.seen[0].wait_end(SOON) == "client_left"

    live(completion("x", delay_s=5.0), use)
    live(Answer([b'{"choices"', Stall()], chunked=True), use)


def test_cancelling_during_the_tls_handshake_closes_the_connection() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # the client's hello, then nothing until it leaves
            gone.set()
            writer.close()

        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with OpenAIChat("primary", base_url=url, model="m", api_key_env=None) as provider:
                await _give_up(provider)
                await asyncio.wait_for(gone.wait(), SOON)

    asyncio.run(main())


async def _cancel_reader(response: Response) -> None:
    reader = asyncio.create_task(response.read())
    await asyncio.sleep(0.03)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def _time_out(response: Response) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await response.read()


async def _aclose(response: Response) -> None:
    await anext(response)
    await response.aclose()


async def _close_unread(response: Response) -> None:
    start = time.thread_time()  # it is not asynchronous: whatever it takes it computes
    response.close()
    response.close()
    assert time.thread_time() - start < 0.05


async def _close_while_another_task_reads(response: Response) -> None:
    reader = asyncio.create_task(response.read())
    await asyncio.sleep(0.03)
    response.close()
    assert await asyncio.wait_for(reader, SOON) == "ab"


WAYS: list[Callable[[Response], Awaitable[None]]] = [
    _cancel_reader, _time_out, _aclose, _close_unread, _close_while_another_task_reads,
]  # fmt: skip


@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
def test_leaving_in_the_middle_closes_the_connection(live: Any, leave: Callable[[Response], Awaitable[None]]) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        ends: list[str] = []
        response = await provider.send(ASK)
        response.on_end(lambda outcome, usage: ends.append(outcome.kind))
        await leave(response)
        assert ends == ["cancelled"]
        assert response.headers is not None
        assert response.headers["x-llmsim-usage"] == "estimated"
        assert await server.seen[0].wait_end(SOON) == "client_left"

    live(stream("a", "b", "c", after=2, then=[Stall()]), use)


def test_a_streaming_server_learns_of_it_too(live: Any) -> None:
    """Not only one that is silent: the writes of one that is generating must stop."""

    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        response = await provider.send(ASK)
        await anext(response)
        response.close()
        assert await server.seen[0].wait_end(SOON) == "client_left"

    live(stream(*"abcdefghij" * 100, gap_s=0.005), use)


def test_the_provider_waits_for_what_is_being_closed() -> None:
    async def main() -> None:
        async with LoopbackServer(stream("a", "b", after=1, then=[Stall()])) as server:
            provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None)
            for _ in range(5):
                (await provider.send(ASK)).close()
            assert provider._closing
            await provider.aclose()
            assert not provider._closing
            await asyncio.gather(*(seen.wait_end(SOON) for seen in server.seen))
            await provider.aclose()
            assert await (await provider.send(ASK)).aclose() is None  # it can be used again
            await provider.aclose()

    asyncio.run(main())


def test_closing_the_provider_breaks_what_still_runs() -> None:
    async def main() -> None:
        async with LoopbackServer(stream("a", "b", after=1, then=[Stall()])) as server:
            provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None)
            response = await provider.send(ASK)
            reader = asyncio.create_task(response.read())
            await asyncio.sleep(0.02)
            await provider.aclose()
            with pytest.raises(e.StreamBroken):
                await asyncio.wait_for(reader, SOON)
            await asyncio.gather(*provider._closing)

    asyncio.run(main())


STEPS = [
    f"{step}.{phase}"
    for step in (
        "connection.connect_tcp", "http11.send_request_headers", "http11.send_request_body",
        "http11.receive_response_headers", "http11.receive_response_body",
    )
    for phase in ("started", "complete")
][:-1]  # fmt: skip  # at the end of the body nobody is waiting any more


@pytest.mark.parametrize("step", STEPS)
def test_cancelling_at_each_step_of_a_call(live: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between connecting and sending, where httpcore itself would lose the connection."""
    trace, reached = SocketWatch.trace, []

    async def cancel_here(self: SocketWatch, event: str, info: dict[str, Any]) -> None:
        await trace(self, event, info)
        if event == step and not reached:
            reached.append(event)
            call = asyncio.current_task()
            assert call is not None
            call.cancel()

    monkeypatch.setattr(SocketWatch, "trace", cancel_here)

    async def ask(provider: OpenAIChat) -> str:
        return await (await provider.send(ASK)).read()

    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ask(provider))
        while provider._closing:
            await asyncio.gather(*provider._closing)
        assert provider._client is not None
        pool: Any = provider._client._transport._pool  # type: ignore[attr-defined]
        assert all(connection.is_idle() for connection in pool.connections)
        async with asyncio.timeout(SOON):
            while len(server._handlers) > len(pool.connections):
                await asyncio.sleep(0.01)
        assert await ask(provider) == "ab"

    live(stream("a", "b", gap_s=0.01), use)
    assert reached


def test_cancelling_at_any_moment_leaves_nothing_behind(live: Any) -> None:
    """120 calls cancelled at random moments between connecting and the end; then the provider is as good as new."""
    luck = random.Random(7)

    async def one(provider: OpenAIChat, after_s: float) -> None:
        try:
            async with asyncio.timeout(after_s):
                await (await provider.send(ASK)).read()
        except TimeoutError:
            pass

    async def use(server: LoopbackServer, provider: OpenAIChat) -> int:
        for _ in range(6):
            await asyncio.gather(*(one(provider, luck.uniform(0, 0.12)) for _ in range(20)))
        ends = [await seen.wait_end(SOON) for seen in server.seen]
        response = await provider.send(ASK)
        assert await response.read() == "abc"
        await asyncio.gather(*provider._closing)
        assert provider._client is not None
        pool: Any = provider._client._transport._pool  # type: ignore[attr-defined]
        assert all(connection.is_idle() for connection in pool.connections)
        return ends.count("client_left")

    assert live(stream("a", "b", "c", ttft_s=0.02, gap_s=0.01), use) > 0


def test_calls_do_not_queue_for_connections(live: Any) -> None:
    """httpx would let 100 through; how many may run at once is for policies to say."""

    async def use(server: LoopbackServer, provider: OpenAIChat) -> int:
        calls = [asyncio.create_task(provider.send(ASK)) for _ in range(110)]  # type: ignore[arg-type]
        responses = await asyncio.gather(*calls)
        for response in responses:
            response.close()
        return server.connections

    assert live(stream("a", ttft_s=0.2), use) == 110


@pytest.mark.parametrize(("keep_alive_s", "connections"), [(5.0, 1), (0.0, 4)])
def test_connections_are_used_again(live: Any, keep_alive_s: float, connections: int) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> int:
        for streamed in (True, False, True, True):
            response = await provider.send(ASK._replace(stream=streamed))
            assert await response.read() == "a"
            await asyncio.gather(*provider._closing)
        return server.connections

    def script(seen: Any) -> Answer:
        return stream("a") if seen.body["stream"] else completion("a")

    assert live(script, use, keep_alive_s=keep_alive_s) == connections


def test_a_stream_is_drained_in_the_background(live: Any) -> None:
    """The reader has its answer at [DONE]; that the body ends only later costs the connection, not the reader."""

    async def use(server: LoopbackServer, provider: OpenAIChat) -> float:
        start = time.perf_counter()
        response = await provider.send(ASK)
        assert await response.read() == "a"
        took = time.perf_counter() - start
        assert await server.seen[0].wait_end(SOON) == "complete"
        return took

    steps = [event(chunk_json({"content": "a"}, "stop")), event("[DONE]"), Wait(0.3)]
    assert live(Answer(steps, headers={"Content-Type": "text/event-stream"}, chunked=True), use) < 0.25


def test_one_provider_in_consecutive_event_loops() -> None:
    with LoopbackServer(stream("a")) as server:  # lives in a thread of its own
        provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None)

        async def ask() -> str:
            async with provider:
                return await (await provider.send(ASK)).read()

        assert [asyncio.run(ask()) for _ in range(3)] == ["a", "a", "a"]


def test_a_loop_that_ended_without_aclose_is_forgotten() -> None:
    with LoopbackServer(stream("a")) as server:
        provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None, keep_alive_s=0)

        async def ask() -> str:
            text = await (await provider.send(ASK)).read()
            await asyncio.gather(*provider._closing)
            return text

        assert [asyncio.run(ask()) for _ in range(2)] == ["a", "a"]
        gc.collect()  # a ResourceWarning would fail the test


def test_two_running_loops_are_refused() -> None:
    async def main() -> None:
        async with LoopbackServer(stream("a")) as server:
            provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None)
            await (await provider.send(ASK)).read()
            for elsewhere in (provider.send(ASK), provider.aclose()):
                with pytest.raises(RuntimeError, match="another event loop"):
                    await asyncio.to_thread(asyncio.run, elsewhere)  # type: ignore[arg-type]
            await provider.aclose()

    asyncio.run(main())


def test_loopback_is_never_asked_of_a_proxy(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def use(_: Any, provider: OpenAIChat) -> str:
        return await (await provider.send(ASK)).read()

    assert live(stream("a"), use) == "a"


@pytest.mark.slow
def test_llmsim_imports_without_httpx() -> None:
    code = "import llmsim, llmsim.providers, llmsim.gateway.contract, sys; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "localhost:8080/v1"}, "base_url of 'p'"),
        ({"base_url": "ftp://host/v1"}, "base_url of 'p'"),
        ({"base_url": "https://me:secret@host/v1"}, "no user, query"),
        ({"base_url": "https://host/v1?api-version=1"}, "no user, query"),
        ({"extra_headers": {"AUTHORIZATION": "Bearer secret"}}, "must not hold credentials"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_wrong_settings(options: dict[str, Any], says: str) -> None:
    settings = {"name": "p", "base_url": "https://host/v1", "model": "m", **options}
    with pytest.raises(ValueError, match=says) as caught:
        OpenAIChat(settings.pop("name"), **settings)
    assert "secret" not in str(caught.value)


def test_the_server_can_be_told_how_much_is_left_of_a_deadline(live):
    header = "x-envoy-expected-rq-timeout-ms"

    async def use(server, provider):
        now = asyncio.get_running_loop().time()
        for left_s in (None, 20.0, -1.0):
            await (await provider.send(ASK._replace(deadline_s=None if left_s is None else now + left_s))).read()
        return [request.headers.get(header) for request in server.seen]

    none, some, over = live([stream("x")], use, deadline_header=header)
    assert (none, over, 15_000 < int(some) <= 20_000) == (None, "1", True)
    assert live([stream("x")], use) == [None] * 3
