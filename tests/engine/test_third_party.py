"""Other people's asyncio code runs in virtual time, unmodified."""

import asyncio

import anyio
import httpx
import pytest
import stamina
import tenacity

from llmsim.engine import simulate
from llmsim.errors import VirtualTimeError


class Unavailable(Exception):
    pass


def test_tenacity_stops_at_ten_virtual_seconds():
    async def main(loop):
        attempts = 0
        with pytest.raises(tenacity.RetryError):
            async for attempt in tenacity.AsyncRetrying(
                stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(1)
            ):
                with attempt:
                    attempts += 1
                    raise Unavailable
        return attempts, loop.time()

    assert simulate(main) == (11, 10.0)


def test_stamina_stops_at_ten_virtual_seconds():
    async def main(loop):
        attempts = 0

        @stamina.retry(on=Unavailable, attempts=None, timeout=10, wait_initial=1, wait_max=1, wait_jitter=0)
        async def call():
            nonlocal attempts
            attempts += 1
            raise Unavailable

        with pytest.raises(Unavailable):
            await call()
        return attempts, loop.time()

    attempts, seconds = simulate(main)
    assert 9 <= seconds <= 10
    assert attempts == seconds + 1


class Transport(httpx.AsyncBaseTransport):
    """Answers after 1 s, then streams a chunk every half second."""

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self):
            for number in range(4):
                await asyncio.sleep(0.5)
                yield b"data: %d\n\n" % number

    async def handle_async_request(self, request):
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                await asyncio.sleep(1)
        except TimeoutError:
            raise httpx.ReadTimeout("too slow", request=request) from None
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self.Stream())


def test_httpx_streams_through_a_custom_transport():
    async def main(loop):
        async with httpx.AsyncClient(transport=Transport(), base_url="http://llm") as client:
            chunks = []
            async with client.stream("POST", "/v1/chat/completions", json={"stream": True}) as response:
                assert loop.time() == 1.0
                async for line in response.aiter_lines():
                    if line:
                        chunks.append((line, loop.time()))  # noqa: PERF401 - the time counts
            assert chunks == [("data: 0", 1.5), ("data: 1", 2.0), ("data: 2", 2.5), ("data: 3", 3.0)]
            whole = await client.post("/")
            assert whole.elapsed.total_seconds() == 3.0
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/", timeout=0.25)
            return loop.time()

    assert simulate(main) == 6.25


def test_httpx_without_a_custom_transport_is_refused():
    async def main(loop):
        async with httpx.AsyncClient(verify=False) as client:
            await client.get("http://127.0.0.1:1/")

    with pytest.raises(VirtualTimeError, match=r"loop\.\w+\(\) inside a simulation|socket"):
        simulate(main)


def test_anyio_sleep_timeouts_and_task_groups():
    async def main(loop):
        await anyio.sleep(1)
        with anyio.move_on_after(2) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        assert loop.time() == 3 == anyio.current_time()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1):
                await anyio.sleep_forever()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            group.start_soon(anyio.sleep, 100)
            await anyio.sleep(6)
            group.cancel_scope.cancel()
        send, receive = anyio.create_memory_object_stream(1)
        async with send, receive:
            await send.send("item")
            assert await receive.receive() == "item"
        event = anyio.Event()
        loop.call_later(1, event.set)
        await event.wait()
        return loop.time()

    assert simulate(main) == 11.0


def test_an_anyio_scope_that_polls_lets_time_pass():
    """Until a shielded scope ends, anyio tries to deliver the cancellation in every round of the loop."""

    async def cleanup():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)

    async def main(loop):
        async def other():
            for _ in range(40):
                await asyncio.sleep(0.25)

        busy = asyncio.create_task(other())
        with anyio.move_on_after(1):
            try:
                await anyio.sleep(100)
            finally:
                await cleanup()
        assert loop.time() == 6
        await busy
        return loop.time()

    assert simulate(main) == 10.0


def test_an_anyio_scope_cancels_again_at_the_same_instant():
    seen = []

    async def main(loop):
        with anyio.move_on_after(1):
            for _ in range(3):
                try:
                    await anyio.sleep(100)
                except asyncio.CancelledError:
                    seen.append(loop.time())
            raise AssertionError("not reached")
        return loop.time()

    with pytest.raises(AssertionError):
        simulate(main)
    assert seen == [1, 1, 1]


def test_anyio_threads_are_refused():
    async def main(loop):
        await anyio.to_thread.run_sync(print)

    with pytest.raises(VirtualTimeError, match="thread"):
        simulate(main)


def test_anyio_run_on_this_loop_as_a_library_would():
    async def main(loop):
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(anyio.sleep, 1)
                loop.call_later(2, scope.cancel)
                await anyio.sleep_forever()
        return loop.time()

    assert simulate(main) == 2.0
