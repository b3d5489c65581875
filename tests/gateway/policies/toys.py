"""A small world for policies: a loop that jumps, a runtime that notes, and providers that are plain asyncio code."""

import asyncio
import selectors

from llmsim.errors import StreamStalled
from llmsim.gateway.contract import Run
from llmsim.gateway.policies import ShedLevel
from llmsim.luck import Luck
from llmsim.types import Chunk, Message, Request, Response, Usage


class JumpingSelector:
    """Instead of waiting for the next timer, go there."""

    def __init__(self):
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout=None):
        ready = self._real.select(0)
        if not ready:
            assert timeout is not None, "nothing left to happen: the test would wait for ever"
            self.now += timeout
        return ready

    def __getattr__(self, name):
        return getattr(self._real, name)


class JumpingLoop(asyncio.SelectorEventLoop):
    """The ordinary asyncio loop with a clock that starts at 0 and skips idle time."""

    def __init__(self):
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self):
        return self.selector.now


def run(coroutine):
    """Run on a jumping loop; tasks left behind are an error of the test."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        async def main():
            result = await coroutine
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks left behind"
            return result

        return runner.run(main())


def levels(above):
    """Levels of load shedding from {priority: utilisation}."""
    return tuple(ShedLevel(priority=priority, above=start) for priority, start in above.items())


def ask(number=0, **fields):
    return Request(f"{number}/0/0", **{"messages": (Message("user", "hello"),), **fields})


class World:
    """A runtime; `events` is what was emitted, as (kind, fields)."""

    def __init__(self, seed=7):
        self.luck = Luck(seed)
        self.events = []

    def now(self):
        return asyncio.get_running_loop().time()

    def emit(self, kind, request_id, policy, upstream, replica, fields):
        self.events.append((kind, fields))

    def of(self, kind):
        return [fields for name, fields in self.events if name == kind]

    def start(self, spec, upstream="", upstreams=("a", "b", "c")):
        scope = "upstream" if upstream else "gateway"
        return spec.start(Run(self, spec.kind, scope, upstream, upstreams=upstreams))


class ToyStream:
    """Chunks with pauses before them; an exception in place of a chunk is raised."""

    def __init__(self, provider, chunks, gap_s, finish_reason):
        self._provider = provider
        self._chunks = list(chunks)
        self._gap_s = gap_s
        self._finish = finish_reason
        self._first = True
        self._delivered = 0
        self.usage = Usage(input_tokens=10)
        self.finish_reason = ""
        provider.open_streams += 1
        self._closed = False

    async def next(self, limits):
        loop = asyncio.get_running_loop()
        pause = 0.0 if self._first else self._gap_s
        self._first = False
        wait = pause if limits.gap_s is None else min(pause, limits.gap_s)
        late = limits.until_s is not None and loop.time() + wait > limits.until_s
        if late:
            wait = max(0.0, limits.until_s - loop.time())
        if wait:
            await asyncio.sleep(wait)
        if late:
            raise limits.late(self._delivered)
        if wait < pause:
            raise StreamStalled(tokens_delivered=self._delivered, upstream=self._provider.name)
        if not self._chunks:
            self.finish_reason = self._finish
            self.close()
            return None
        chunk = self._chunks.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        self._delivered += 1
        self.usage = self.usage._replace(output_tokens=self._delivered)
        return Chunk(chunk)

    async def rest(self, limits):
        return await self.next(limits)

    def close(self):
        if not self._closed:
            self._closed = True
            self._provider.open_streams -= 1


class Toy:
    """A provider that plays a script: the n-th call gets its n-th item (the last one repeats).

    An item is an exception (raised after `delay_s`), a number (seconds until the first chunk), or a list of chunks.
    """

    def __init__(self, *script, name="a", delay_s=0.0, gap_s=0.1, finish_reason="stop"):
        self.name = name
        self.model = f"{name}-model"
        self.calls = []  # (time, request)
        self.open_streams = 0
        self.in_flight = 0
        self.cancelled = 0
        self._script = list(script) or [0.0]
        self._delay_s = delay_s
        self._gap_s = gap_s
        self._finish_reason = finish_reason

    @property
    def times(self):
        return [round(at, 9) for at, _ in self.calls]

    async def send(self, request):
        item = self._script[min(len(self.calls), len(self._script) - 1)]
        self.calls.append((asyncio.get_running_loop().time(), request))
        self.in_flight += 1
        try:
            await asyncio.sleep(item if isinstance(item, int | float) else self._delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if isinstance(item, BaseException):
            raise item
        chunks = item if isinstance(item, list) else ["hel", "lo"]
        stream = ToyStream(self, chunks, self._gap_s, self._finish_reason)
        return Response(stream, upstream=self.name, model=request.model or self.model)

    def cancelled_usage(self, request):
        return Usage(input_tokens=10)

    async def aclose(self):
        pass


class Switch:
    """What a gateway has innermost: sends to the provider a request is addressed to."""

    def __init__(self, *providers):
        self.providers = {provider.name: provider for provider in providers}
        self.default = providers[0].name

    async def __call__(self, request):
        return await self.providers[request.upstream or self.default].send(request)


def chain(*handlers, inner):
    """Compose handlers, outermost first, around a CallNext."""
    call = inner
    for handler in reversed(handlers):
        call = _link(handler, call)
    return call


def _link(handler, inner):
    return lambda request: handler(request, inner)


async def outcome(awaitable):
    """(result or exception, seconds it took)."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        result = await awaitable
    except Exception as error:
        result = error
    return result, round(loop.time() - start, 9)
