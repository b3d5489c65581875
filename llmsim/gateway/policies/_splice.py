"""One answer out of several streams: where one breaks, the next upstream goes on."""

from __future__ import annotations

import asyncio
import math

from llmsim.errors import DeadlineExceeded, GatewayError, StreamStalled
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._course import Course
from llmsim.gateway.policies._kept import cancel
from llmsim.gateway.policies._race import noted
from llmsim.types import NO_LIMITS, Chunk, Limits, Message, Request, Response, Usage

__all__ = ["Splice"]


class Splice:
    """A `Stream` that goes on with another upstream when its own breaks.

    Parameters
    ----------
    course
        Who is asked next, and how the caller asked.
    first
        The answer it begins with.

    Attributes
    ----------
    response
        What to give to the caller.
    """

    __slots__ = (
        "_asking", "_before", "_closed", "_course", "_current", "_failure", "_last_s", "_limits", "_longest_s",
        "_own_gap_s", "_owner", "_parts", "_skip_space", "_text", "_used_up",
    )  # fmt: skip

    def __init__(self, course: Course, first: Response) -> None:
        self._course = course
        self._current = first
        self._parts = [first]
        self._before = 0  # tokens of the parts before the current one, all of them given to the reader
        self._text: list[str] = []  # what the reader was given
        self._failure: Exception | None = None  # of the current part; what came before it was handed out first
        self._limits = NO_LIMITS  # those of the reader that the current part knows
        self._own_gap_s = first.limits.gap_s  # what policies further in allow it
        self._last_s = course.rules.run.now()  # when something came last
        self._longest_s = math.nan  # the longest silence between two parts
        self._skip_space = False
        self._used_up = False  # max_tokens were delivered when it broke
        self._asking: asyncio.Task[Response] | None = None
        self._closed = False
        if course.exchange is not None:
            course.exchange.joined(first)
        self._owner: Response | None = Response(
            self,
            upstream=first.upstream,
            model=first.model,
            served_from=first.served_from,
            status=first.status,
            headers=first.headers,
            parents=(first,),
            queue_s=first.queue_s,
            origin=first.origin,
        )

    @property
    def response(self) -> Response:
        assert self._owner is not None, "asked for once, at the start"
        return self._owner

    # -- the stream ----------------------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        if len(self._parts) == 1:
            return self._current.usage
        return Usage(*(sum(amounts) for amounts in zip(*(part.usage for part in self._parts), strict=True)))

    @property
    def finish_reason(self) -> str:
        if self._failure is not None:
            return ""
        return "length" if self._used_up else self._current.finish_reason

    @property
    def longest_gap_s(self) -> float:
        gaps = [self._longest_s, *(part.longest_gap_s for part in self._parts)]
        return max((gap for gap in gaps if not math.isnan(gap)), default=math.nan)

    async def next(self, limits: Limits) -> Chunk | None:
        return await self._read(limits, whole=False)

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self._read(limits, whole=True)

    def close(self) -> None:
        self._closed = True
        self._owner = None  # no circle between the two
        if self._asking is not None:
            cancel(self._asking)
        self._current.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _read(self, limits: Limits, *, whole: bool) -> Chunk | None:
        while not self._used_up:
            if self._failure is None:
                try:
                    chunk = await self._piece(limits, whole=whole)
                except Exception as error:
                    if self._closed:  # by another task, while this one waited
                        return None
                    self._failure = error
                else:
                    return self._noted(chunk)
            failure = self._failure
            assert failure is not None
            if isinstance(failure, GatewayError) and hasattr(failure, "tokens_delivered"):
                failure.tokens_delivered = self._delivered()
            if not self._may_go_on(failure, limits):
                raise failure
            if not await self._go_on(failure, limits):
                return None  # closed by another task
        return None

    def _noted(self, chunk: Chunk | None) -> Chunk | None:
        if self.finish_reason:
            self._named()  # a fallback further in may have gone on elsewhere
            self._owner = None  # complete: nothing will join it any more
        if chunk is None:
            return None
        self._last_s = self._course.rules.run.now()
        if self._skip_space:
            self._skip_space = False
            chunk = chunk._replace(text=chunk.text.lstrip())
        self._text.append(chunk.text)
        return chunk

    async def _piece(self, limits: Limits, *, whole: bool) -> Chunk | None:
        """The next chunk of the current part, or all the rest of it."""
        current = self._current
        if limits is not self._limits:
            self._limits = limits
            late, before = limits.late, self._before
            shifted = late if late is None or not before else lambda tokens: late(tokens + before)
            current.limit(gap_s=limits.gap_s, until_s=limits.until_s, late=shifted)
        if not whole:
            async for chunk in current:
                return chunk
            return None
        tap = current.tap()
        try:
            await current.read()
        except Exception as error:
            if not tap.chunks:
                raise
            self._failure = error  # comes after what was there before it
        return Chunk(tap.text, tap.tokens) if tap.chunks else None

    def _delivered(self) -> int:
        return self._before + self._current.tokens_delivered

    # -- going on ------------------------------------------------------------------------------------------------------

    def _may_go_on(self, error: Exception, limits: Limits) -> bool:
        rules = self._course.rules
        if not rules.catches(error) or isinstance(error, DeadlineExceeded):
            return False
        if self._delivered() and rules.mid_stream == "restart":
            return False
        # A limit that the reader has set is one on the answer as a whole: its time is over, whoever would go on.
        own, gap = self._own_gap_s, limits.gap_s
        if isinstance(error, StreamStalled) and gap is not None and (own is None or own >= gap):
            return False
        return limits.until_s is None or rules.run.now() < limits.until_s

    async def _go_on(self, failure: Exception, limits: Limits) -> bool:
        """Ask the others until one answers, which is then the current part; False: nobody wants it any more."""
        course, delivered = self._course, self._delivered()
        most = course.request.max_tokens
        if most is not None and delivered >= most:
            self._used_up, self._failure, self._owner = True, None, None
            return True
        error: Exception = failure
        while True:
            course.failed(error)
            upstream = course.next()
            course.causes.clear()
            if upstream is None:
                raise failure
            request = course.enter(upstream, error, delivered_tokens=delivered)
            try:
                response = await self._ask(self._continued(request, delivered) if delivered else request, limits)
            except Exception as refused:
                if self._over(limits):
                    raise
                if not course.rules.catches(refused):
                    raise failure from refused
                error = refused
                continue
            if response is None:
                return False
            self._join(response, delivered)
            return True

    def _continued(self, request: Request, delivered: int) -> Request:
        """The request with what was delivered as the beginning of its answer."""
        text = "".join(self._text)
        kept = text.rstrip()  # a prefix must not end in white space (Anthropic refuses it); what follows has its own
        self._skip_space = len(kept) < len(text)
        return request._replace(
            messages=(*(request.messages or ()), Message("assistant", kept)),
            input_tokens=request.input_tokens + delivered,
            max_tokens=None if request.max_tokens is None else request.max_tokens - delivered,
        )

    async def _ask(self, request: Request, limits: Limits) -> Response | None:
        """One call, under the reader's limits; None: closed in the meantime."""
        course = self._course
        exchange = course.exchange
        if exchange is not None:
            exchange.delivered_by_failed = 0  # goes on from there: nothing is delivered twice

        async def call() -> Response:
            if exchange is not None:  # the reader may be another task than the one that sent the request
                current_exchange.set(exchange)
            return await course.call_next(request)

        now = course.rules.run.now()
        ends = [] if limits.until_s is None else [limits.until_s - now]
        if limits.gap_s is not None:
            ends.append(self._last_s + limits.gap_s - now)
        self._asking = task = asyncio.get_running_loop().create_task(call())
        try:
            await asyncio.wait({task}, timeout=max(min(ends), 0.0) if ends else None)
        except asyncio.CancelledError as error:
            cancel(task, error.args[0] if error.args else "")
            await noted((task,))
            raise
        finally:
            self._asking = None
        if self._closed:
            cancel(task)
            return None
        if not task.done():
            cancel(task)
            await noted((task,))
            raise self._out_of_time(limits)
        return task.result()

    def _over(self, limits: Limits) -> bool:
        now = self._course.rules.run.now()
        late = limits.until_s is not None and now >= limits.until_s
        return late or (limits.gap_s is not None and now >= self._last_s + limits.gap_s)

    def _out_of_time(self, limits: Limits) -> GatewayError:
        if limits.until_s is not None and limits.late is not None and self._course.rules.run.now() >= limits.until_s:
            return limits.late(self._delivered())
        return StreamStalled(f"no chunk for {limits.gap_s:g}s", tokens_delivered=self._delivered())

    def _named(self) -> None:
        """The answer goes by the name of its latest part."""
        owner, part = self._owner, self._current
        if owner is not None:
            owner.upstream, owner.model, owner.origin = part.upstream, part.model, part.origin

    def _join(self, response: Response, delivered: int) -> None:
        now = self._course.rules.run.now()
        self._longest_s = max(now - self._last_s, 0.0 if math.isnan(self._longest_s) else self._longest_s)
        self._before = delivered
        self._current = response
        self._parts.append(response)
        self._failure = None
        self._limits = NO_LIMITS
        self._own_gap_s = response.limits.gap_s
        owner = self._owner
        assert owner is not None, "it is still being read"
        owner.parents += (response,)
        self._named()
        if self._course.exchange is not None:
            self._course.exchange.joined(response)
