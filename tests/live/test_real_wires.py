"""The three protocols that llama.cpp speaks, on a real model: one answer, one count, one error.

Run with ``pytest -m live``. The server is started here and takes one core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from live.served import MARKS, llama, served
from vendor_answers import VENDORS

from llmsim import errors as e
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request, Response

pytestmark = MARKS

ASK = Request("r1", messages=(Message("user", "Count from one to twenty."),), max_tokens=24, temperature=0.0)
APIS = ("openai-chat", "openai-responses", "anthropic")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a running server, ended with the module."""
    with served() as line:
        yield line


def call(api: str, url: str, use: Callable[[LiveUpstream], Awaitable[Any]], **words: Any) -> Any:
    async def main() -> Any:
        # llama.cpp closes a connection after a streamed answer without saying so.
        async with VENDORS[api].open(url, keep_alive=0.0, model=llama.MODEL, **words) as provider:
            return await use(provider)

    return asyncio.run(main())


async def said(provider: LiveUpstream, request: Request = ASK) -> tuple[str, Response]:
    response = await provider.send(request)
    return "".join([chunk.text async for chunk in response]), response


def test_all_protocols_say_and_count_the_same(url: str) -> None:
    async def use(provider: LiveUpstream) -> list[tuple[str, Response]]:
        return [await said(provider, ASK._replace(stream=streamed)) for streamed in (True, False)]

    found = [one for api in APIS for one in call(api, url, use)]
    assert len({text for text, _ in found}) == 1
    assert len({response.usage for _, response in found}) == 1
    assert {response.headers["x-llmsim-usage"] for _, response in found} == {"reported"}
    assert {response.tokens_delivered for _, response in found} == {found[0][1].usage.output_tokens}
    # As a response, llama.cpp calls even an answer that was cut off "completed".
    reasons = [response.finish_reason for _, response in found]
    assert reasons == ["length", "length", "stop", "stop", "length", "length"]


@pytest.mark.parametrize("api", APIS)
def test_a_prompt_that_does_not_fit(url: str, api: str) -> None:
    ask = ASK._replace(messages=(Message("user", "word " * 2 * llama.SLOT_TOKENS),))

    async def use(provider: LiveUpstream) -> None:
        with pytest.raises(e.ContextTooLong):
            await provider.send(ask)

    call(api, url, use)


@pytest.mark.parametrize("api", APIS)
def test_the_wait_for_the_head_is_the_wait_for_a_slot(url: str, api: str) -> None:
    """More calls than slots: those that wait are told apart from those that do not, and their text follows the head."""
    calls = 2 * llama.SLOTS

    async def use(provider: LiveUpstream) -> list[Response]:
        return [response for _, response in await asyncio.gather(*(said(provider) for _ in range(calls)))]

    responses = sorted(call(api, url, use, head_waits_for_slot=True), key=lambda response: response.queue_s)
    waits = [response.queue_s for response in responses]
    ends = sorted(response.timings.end_s - response.timings.sent_s for response in responses)
    print(api, [f"{wait:.3f}" for wait in waits], [f"{end:.3f}" for end in ends])
    # Who waits does so until the first call is through; who does not has a head before that.
    assert max(waits[: llama.SLOTS]) < ends[0] <= min(waits[llama.SLOTS :]) + 0.05
    for response in responses:
        assert response.timings.sent_s < response.timings.head_s <= response.timings.first_s
        assert response.timings.connect_s > 0
