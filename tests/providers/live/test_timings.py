"""When things happen at the socket, measured against a server that says when it did them."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from loopback import Answer, LoopbackServer, Script, Wait, completion, event, failure, stream
from vendor_answers import VENDORS

from llmsim import errors as e
from llmsim.calibrate import calls_of, read_log
from llmsim.live_run import run_live
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request, Response

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("user", "hi"),))
LATE = 0.1  #: how much later than it should something may happen on a busy machine


def call(script: Script, use: Callable[[LoopbackServer, LiveUpstream], Awaitable[Any]], **words: Any) -> Any:
    async def main() -> Any:
        async with LoopbackServer(script) as server, VENDORS["openai-chat"].open(server.url, **words) as provider:
            return await use(server, provider)

    return asyncio.run(main())


async def read(provider: LiveUpstream, request: Request = ASK) -> Response:
    response = await provider.send(request)
    [chunk async for chunk in response]
    return response


def test_every_moment_of_a_stream() -> None:
    """The server's own clock is the same: both run on one loop."""

    async def use(server: LoopbackServer, provider: LiveUpstream) -> tuple[Any, Any]:
        return (await read(provider)).timings, server.seen[0]

    pauses = [step for piece in "bcd" for step in (Wait(0.04), event({"choices": [{"delta": {"content": piece}}]}))]
    first = stream("a", ttft_s=0.06, after=1, then=[*pauses, event("[DONE]")])
    times, seen = call(first, use)
    assert times.start_s <= times.sent_s <= seen.arrived_s + LATE
    assert 0 < times.connect_s <= times.sent_s - times.start_s
    assert seen.first_byte_s is not None
    assert seen.first_byte_s <= times.head_s <= seen.first_byte_s + LATE
    assert 0.055 < times.head_wait_s < 0.06 + LATE
    assert times.first_s >= times.head_s
    assert len(times.chunks_s) == 4
    gaps = [b - a for a, b in itertools.pairwise(times.chunks_s)]
    assert all(0.02 < gap < 0.04 + LATE for gap in gaps)
    assert times.longest_gap_s == max(gaps)
    assert times.end_s >= times.chunks_s[-1]
    assert times.http_version == "HTTP/1.1"


def test_cold_and_warm_calls_are_told_apart() -> None:
    async def use(_: Any, provider: LiveUpstream) -> list[Response]:
        return [await read(provider, ASK._replace(stream=streamed)) for streamed in (False, False, True)]

    cold, warm, again = call([completion("a"), completion("a"), stream("a")], use)
    assert float(cold.headers["x-llmsim-connect-s"]) == pytest.approx(cold.timings.connect_s, abs=1e-6)
    assert cold.timings.connect_s > 0
    for response in (warm, again):
        assert "x-llmsim-connect-s" not in response.headers
        assert response.timings.connect_s == 0.0


def test_a_whole_answer_has_no_chunks() -> None:
    async def use(_: Any, provider: LiveUpstream) -> Response:
        return await read(provider, ASK._replace(stream=False))

    response = call(completion("a", delay_s=0.05), use)
    times = response.timings
    assert times.end_s >= times.head_s > times.sent_s
    assert math.isnan(times.first_s) and math.isnan(times.longest_gap_s)
    assert "0 chunks" in repr(times)


def test_errors_say_whether_they_had_to_connect() -> None:
    async def use(_: Any, provider: LiveUpstream) -> list[bool]:
        had = []
        for _ in range(2):
            with pytest.raises(e.ServerError) as caught:
                await provider.send(ASK)
            had.append("x-llmsim-connect-s" in caught.value.headers)
        return had

    assert call(failure(500), use) == [True, False]


@pytest.mark.parametrize(("words", "known"), [({}, False), ({"head_waits_for_slot": True}, True)])
def test_the_wait_for_the_head_is_the_queue_only_where_the_file_says_so(words: dict[str, bool], known: bool) -> None:
    async def use(_: Any, provider: LiveUpstream) -> list[Response]:
        return [await read(provider, ASK._replace(stream=streamed)) for streamed in (True, False)]

    script = [stream("a", ttft_s=0.08), completion("a", delay_s=0.08)]
    streamed, whole = call(script, use, **words)
    assert math.isnan(whole.queue_s)  # its head comes at the end
    assert math.isnan(streamed.queue_s) != known
    if known:
        assert 0.07 < streamed.queue_s < 0.08 + LATE


def test_queue_and_connections_are_in_the_tables() -> None:
    scenario = {
        "version": 1,
        "seed": 3,
        "clock": {"warm_up": "0s", "duration": "300ms", "drain": "5s"},
        "traffic": {"base_rate": "20/s", "mix": [{"input_tokens": 40, "output_tokens": 2}]},
        "providers": {"one": {"model": "m", "price": {"input": "$1/Mtok", "output": "$1/Mtok"}}},
    }
    with LoopbackServer(stream("a", "b", ttft_s=0.03, usage=(40, 2))) as server:
        provider = {"base_url": server.url, "head_waits_for_slot": True}
        result = run_live(scenario, {"version": 1, "providers": {"one": provider}}, budget_usd=1.0)
        connections = server.connections
    queued = result.attempts["queue_s"]
    assert queued.null_count() == 0
    assert 0.025 < queued.min() <= queued.max() < 0.03 + LATE
    connected = result.events.filter(pl.col("kind") == "connected")
    assert connected.height == connections > 0
    assert connected["upstream"].unique().to_list() == ["one"]
    assert set(connected["request_id"]) <= set(result.requests["request_id"])
    assert all(0 < json.loads(detail)["connect_s"] < 1 for detail in connected["detail"])


def test_what_the_server_says_it_took_itself() -> None:
    """llama.cpp in its last chunk, OpenAI in a header; who says nothing, or nonsense, is not guessed at."""

    async def use(_: Any, provider: LiveUpstream) -> list[float]:
        return [(await read(provider, ASK)).timings.server_s for _ in range(4)]

    llama = event({"choices": [], "timings": {"prompt_n": 40, "prompt_ms": 31.5, "predicted_ms": 80.0}})
    kind = {"Content-Type": "text/event-stream"}
    steps = list(stream("a", "b").steps)
    script = [
        Answer([*steps[:-1], llama, *steps[-1:]], headers=kind, chunked=True),
        stream("a", headers={"openai-processing-ms": "125", **kind}),
        stream("a"),
        stream("a", headers={"openai-processing-ms": "soon", **kind}),
    ]
    assert call(script, use) == pytest.approx([0.0315, 0.125, math.nan, math.nan], nan_ok=True)


def test_what_it_says_is_in_the_tables_of_a_run_behind_faults_too_and_calibrate_reads_it(tmp_path: Path) -> None:
    def script(seen: Any) -> Answer:
        said = {} if seen.number == 0 else {"openai-processing-ms": "20"}
        return stream("a", "b", ttft_s=0.03, usage=(40, 2), headers={"Content-Type": "text/event-stream", **said})

    fault = {"name": "hiccup", "provider": "one", "at": "500ms", "duration": "10s"}
    scenario = {
        "version": 1,
        "seed": 3,
        "clock": {"warm_up": "0s", "duration": "700ms", "drain": "5s"},
        "traffic": {"base_rate": "20/s", "mix": [{"input_tokens": 40, "output_tokens": 2}]},
        "providers": {"one": {"model": "m", "price": {"input": "$1/Mtok", "output": "$1/Mtok"}}},
        "faults": [
            {**fault, "stall": {"after_tokens": 1, "time": "10ms"}},
            {**fault, "name": "gone", "at": "695ms", "duration": "1ms", "outage": True},
        ],
    }
    with LoopbackServer(script) as server:
        live = {"version": 1, "providers": {"one": {"base_url": server.url}}}
        result = run_live(scenario, live, budget_usd=1.0)
    rows = result.attempts.sort("start_s")
    stalled = rows.filter(pl.col("start_s") > 0.51)
    assert stalled.height > 0
    assert stalled["server_s"].drop_nulls().unique().to_list() == pytest.approx([0.02])
    answered = rows.filter(pl.col("outcome").cast(str) == "ok")
    assert answered["server_s"].null_count() == 1
    before = calls_of([result], "one")
    assert 0 < len(before.sent_s) < rows.height  # without those under faults
    assert np.nanmax(before.server_s) == pytest.approx(0.02)
    assert np.isnan(before.server_s).sum() == 1
    result.save(tmp_path)
    for place in (tmp_path, tmp_path / "attempts.parquet"):
        read = read_log(place).calls
        assert np.nanmedian(read.server_s) == pytest.approx(0.02), place
        assert np.isnan(read.only(read.ok).server_s).sum() == 1, place
