"""The presets of the SDKs against the SDKs themselves, unmodified, in virtual time over a transport of the test's."""

import asyncio
import json
from itertools import pairwise

import pytest
from gateway.presets.asked import failed, times
from scipy.stats import ks_2samp

from llmsim.engine import simulate
from llmsim.errors import ConnectionFailed

pytestmark = pytest.mark.slow

STATUSES = (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504, 529)
HEADERS = (
    ({}, None),
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "120"}, 120.0),
    ({"retry-after": "121"}, 121.0),
    ({"retry-after": "7200"}, 7200.0),
    ({"x-should-retry": "true"}, None),
    ({"x-should-retry": "false"}, None),
    ({"x-should-retry": "true", "retry-after": "121"}, 121.0),
    ({"x-should-retry": "false", "retry-after": "7"}, 7.0),
)
#: Longest waits without a Retry-After, and the share of them that is luck.
LONGEST, SHARE = (0.5, 1.0), 0.25

OPENAI_ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}
_CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
OPENAI_EVENT = {**_CHUNK, "choices": [{"index": 0, "delta": {"content": "hel"}, "finish_reason": None}]}
ANTHROPIC_ANSWER = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ANTHROPIC_EVENT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}}


class OpenAI:
    """How to call the OpenAI SDK, and what it takes for an answer."""

    preset = "openai-sdk"
    answer, event = OPENAI_ANSWER, OPENAI_EVENT

    def __init__(self, transport):
        import httpx
        import openai

        self.http, self.errors = httpx, openai
        client = httpx.AsyncClient(transport=transport_of(httpx, transport))
        self.client = openai.AsyncOpenAI(api_key="none", base_url="http://llm/v1", http_client=client)
        self.client._platform = "Linux"  # else the first request asks a thread

    async def send(self, **more):
        return await self.client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], **more
        )


class Anthropic:
    """The same for the Anthropic SDK, whose httpx is another."""

    preset = "anthropic-sdk"
    answer, event = ANTHROPIC_ANSWER, ANTHROPIC_EVENT

    def __init__(self, transport):
        import anthropic
        import httpx2

        self.http, self.errors = httpx2, anthropic
        client = httpx2.AsyncClient(transport=transport_of(httpx2, transport))
        self.client = anthropic.AsyncAnthropic(api_key="none", base_url="http://llm", http_client=client)
        self.client._platform = "Linux"

    async def send(self, **more):
        return await self.client.messages.create(
            model="m", max_tokens=10, messages=[{"role": "user", "content": "hello"}], **more
        )


class Script:
    """What the n-th call gets (the last one repeats), and when it came: (status, headers), seconds, or an error."""

    def __init__(self, *items):
        self.items, self.times = items, []

    def next(self):
        self.times.append(asyncio.get_running_loop().time())
        return self.items[min(len(self.times), len(self.items)) - 1]


def transport_of(http, holder):
    class Broken(http.AsyncByteStream):
        async def __aiter__(self):
            for _ in range(3):
                await asyncio.sleep(0.1)
                yield b"event: content_block_delta\ndata: " + json.dumps(holder.sdk.event).encode() + b"\n\n"
            raise http.ReadError("cut")

    class Transport(http.AsyncBaseTransport):
        async def handle_async_request(self, request):
            item = holder.script.next()
            if item == "refused":
                raise http.ConnectError("refused", request=request)
            if item == "cut":
                return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Broken())
            if isinstance(item, int | float):
                try:  # limits are a transport's business
                    async with asyncio.timeout(request.extensions["timeout"]["read"]):
                        await asyncio.sleep(item)
                except TimeoutError:
                    raise http.ReadTimeout("late", request=request) from None
                item = (200, {})
            status, headers = item
            body = holder.sdk.answer if status == 200 else {"error": {"message": "no", "type": "none"}}
            return http.Response(status, headers=headers, json=body)

    return Transport()


class Real:
    """An SDK with what it is to be answered."""

    def __init__(self, cls):
        self.script = Script()
        self.sdk = cls(self)

    async def times(self, *items, **more):
        """When it called, and what it raised."""
        self.script, raised = Script(*items), None
        try:
            await self.sdk.send(**more)
        except self.sdk.errors.APIError as error:
            raised = error
        return [at - self.script.times[0] for at in self.script.times], raised


def in_virtual_time(cls, ask, seed=1):
    async def main(loop):
        real = Real(cls)
        try:
            return await ask(real)
        finally:
            await real.sdk.client.close()

    return simulate(main, seed=seed)


def steps(at):
    return [later - earlier for earlier, later in pairwise(at)]


@pytest.mark.parametrize("cls", [OpenAI, Anthropic])
def test_decides_and_waits_as_the_sdk_does(cls):
    """All statuses with all headers."""

    async def ask(real):
        return {
            (status, number): (await real.times((status, headers)))[0]
            for status in STATUSES
            for number, (headers, _) in enumerate(HEADERS)
        }

    wrong = []
    for (status, number), real in in_virtual_time(cls, ask).items():
        headers, asked = HEADERS[number]
        ours = times(cls.preset, failed(status, headers=headers, retry_after_s=asked))
        close = len(ours) == len(real)
        for mine, its, longest in zip(steps(ours), steps(real), LONGEST, strict=False):
            close &= abs(mine - its) <= (1e-9 if asked and mine == asked else SHARE * longest)
        if not close:
            wrong.append((status, headers, real, ours))
    assert wrong == []


@pytest.mark.parametrize("cls", [OpenAI, Anthropic])
def test_draws_its_waits_from_the_same_distribution(cls):
    async def ask(real):
        return [steps((await real.times((500, {})))[0]) for _ in range(300)]

    its = in_virtual_time(cls, ask)
    ours = [steps(times(cls.preset, failed(500), seed=seed)) for seed in range(300)]
    for number in (0, 1):
        found = ks_2samp([row[number] for row in its], [row[number] for row in ours])
        assert found.pvalue > 0.001, (number, found)
        shifted = ks_2samp([row[number] for row in its], [row[number] * 1.1 for row in ours])
        assert shifted.pvalue < 1e-6  # 300 draws would tell


@pytest.mark.parametrize("cls", [OpenAI, Anthropic])
def test_gives_up_on_silence_and_on_who_does_not_answer_as_the_sdk_does(cls):
    async def ask(real):
        late, error = await real.times(700.0)
        assert isinstance(error, real.sdk.errors.APITimeoutError)
        refused, error = await real.times("refused")
        assert isinstance(error, real.sdk.errors.APIConnectionError)
        return late, refused, (await real.times(599.0))[0]

    late, refused, patient = in_virtual_time(cls, ask)
    assert len(patient) == len(times(cls.preset, 599.0)) == 1
    for its, ours in ((late, times(cls.preset, 700.0)), (refused, times(cls.preset, ConnectionFailed()))):
        assert len(its) == len(ours) == 3
        for mine, theirs, longest in zip(steps(ours), steps(its), LONGEST, strict=True):
            assert abs(mine - theirs) <= SHARE * longest


@pytest.mark.parametrize("cls", [OpenAI, Anthropic])
def test_never_retries_in_the_middle_of_a_stream(cls):
    async def ask(real):
        real.script = Script("cut")
        stream = await real.sdk.send(stream=True)
        got = 0
        with pytest.raises(real.sdk.http.ReadError):
            async for _ in stream:
                got += 1
        return got, len(real.script.times)

    assert in_virtual_time(cls, ask) == (3, 1)
