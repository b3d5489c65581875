"""The users of a simulated scenario: they send, wait, lose patience, press retry, think, ask on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmsim.error_words import outcome_word
from llmsim.errors import BadOutput, GatewayError, PolicyError
from llmsim.gateway.exchange import Exchange
from llmsim.luck import Luck
from llmsim.pricing import FREE, TokenPrice
from llmsim.scenario.runtime import LabRuntime
from llmsim.telemetry.recorder import Recorder
from llmsim.traffic.arrivals import Arrivals
from llmsim.traffic.conversations import Conversation
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Traffic
from llmsim.traffic.workload import Truth, Workload, World, usable
from llmsim.types import Request, Response

if TYPE_CHECKING:
    from llmsim.engine.loop import SimLoop
    from llmsim.gateway.caching import CacheUse
    from llmsim.gateway.pipeline import RunningGateway

__all__ = ["Users", "Visit"]

_NAN = float("nan")
_LEAST_ITERATION_S = 0.001  #: of a virtual user; no client is infinitely fast
_INF = float("inf")
_NO_CACHE = ("", _NAN, False, "", False, False, "", "", 0, 0, 0, 0)
_LOOK_S = 2.0  # how often those who wait are looked for; nearly every first chunk is there by then


class Visit(Exchange):
    """One request from its user's side. What is true about it stays in the `World`, out of the gateway's reach."""

    __slots__ = ("left", "reads_s", "task", "waiting")

    def __init__(self, request: Request, runtime: LabRuntime) -> None:
        Exchange.__init__(self, request, runtime)  # super() takes longer, and one is made for every request
        self.task: asyncio.Task[None] | None = None  # until it is over: the task's context refers to this visit
        self.waiting = True  #: for the first chunk
        self.reads_s = _INF  #: how long after the first chunk its reader goes
        self.left = ""  #: why the task was cancelled: abandoned or unfinished

    def lose_patience(self) -> None:
        """Leave, unless something has come."""
        if self.waiting:
            self.leave("abandoned")

    def disconnect(self) -> None:
        """Leave in the middle of the answer, unless it is over."""
        if self.task is not None:
            self.leave("abandoned")

    def leave(self, why: str) -> None:
        """Give up waiting, for the first reason there is."""
        self.left = self.left or why
        assert self.task is not None
        self.task.cancel()


class Users:
    """Everyone who uses the gateway during one replication.

    Parameters
    ----------
    traffic
        Who they are.
    gateway
        What they use.
    last_arrival_s
        Loop time after which nobody new comes.
    start_s
        Time of the week when warm-up ends, in seconds after Monday 0:00.
    """

    def __init__(
        self,
        traffic: Traffic,
        gateway: RunningGateway,
        *,
        loop: SimLoop,
        luck: Luck,
        world: World,
        runtime: LabRuntime,
        recorder: Recorder,
        prices: dict[str, TokenPrice],
        warm_up_s: float,
        last_arrival_s: float,
        start_s: float = 0.0,
    ) -> None:
        self._traffic = traffic
        self._gateway = gateway
        self._loop = loop
        self._luck = luck
        self._world = world
        self._runtime = runtime
        self._recorder = recorder
        self._prices = prices
        self._arrivals = (
            None
            if traffic.executor == "constant-vus"
            else Arrivals(traffic, RateShape.of(traffic, warm_up_s, start_s), luck)
        )
        self._workload = Workload(traffic, luck, self._arrivals, lambda: loop.time() - warm_up_s)
        self._last_arrival_s = last_arrival_s
        world.meanings, world.renewals = self._workload.meanings, self._workload.renewals
        world.asked = self._workload
        self._retry_s = luck.series("user_retry.after", through=traffic.user_retry.after, block=256)
        self._think_s = luck.series("think_time", through=traffic.think_time)
        self._warm_up_s = warm_up_s
        self._closed_loop = traffic.executor == "constant-vus"
        self._arriving = True
        self._coming_back = 0  # user retries and next steps of sessions that are still to be sent
        self.running: dict[str, Visit] = {}
        self.done = 0  #: requests that ended
        self.max_in_flight = 0
        self.fatal: BaseException | None = None
        self.idle = asyncio.Event()  #: set once nobody is there and nobody will come
        # The ids of those who came since the last look and before it, with the end of their patience. Not the visits
        # themselves: those are over within a second, and are let go of while the processor still has them at hand.
        self._came: list[tuple[float, str]] = []
        self._stayed: list[tuple[float, str]] = []
        self._looking = False

    # -- arrivals ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let them come."""
        if self._closed_loop:
            for user in range(self._traffic.vus):
                self._loop.at(self._loop.time() + self._think_s(user), self._send_vu, user)
            self._loop.at(self._last_arrival_s, self._no_more)
        else:
            assert self._arrivals is not None
            self._blocks = iter(self._arrivals)
            self._times: list[float] = []
            self._next_block(0)

    def _next_block(self, index: int) -> None:
        """Schedule arrival `index`, the first of a block."""
        times = next(self._blocks, [])
        if not times or times[0] >= self._last_arrival_s:
            self._no_more()
        else:
            self._times = times
            self._loop.at(times[0], self._arrive, index, 0)

    def _arrive(self, index: int, place: int) -> None:
        if not self._arriving:
            return
        request, truth = self._workload(index)
        self._send(request, truth)
        place += 1
        times = self._times
        if place == len(times):
            self._next_block(index + 1)
        elif times[place] >= self._last_arrival_s:
            self._no_more()
        else:
            self._loop.at(times[place], self._arrive, index + 1, place)

    def _send_vu(self, index: int) -> None:
        # Index = iteration × users + user: dense and independent of who is faster.
        if self._arriving:
            self._send(*self._workload(index))

    def _no_more(self) -> None:
        self._arriving = False
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._arriving and not self.running and not self._coming_back:
            self.idle.set()

    def close_doors(self) -> None:
        """Nobody new comes from now on; who is there stays."""
        self._last_arrival_s = -_INF
        self._no_more()

    def stop(self, error: BaseException) -> None:
        """The run cannot go on."""
        if self.fatal is None:
            self.fatal = error
        self.idle.set()

    # -- one request -------------------------------------------------------------------------------------------

    def _send(self, request: Request, truth: Truth) -> None:
        loop = self._loop
        now = loop.time()
        name = request.id
        self._world.truths[name] = truth
        visit = Visit(request, self._runtime)
        visit.origin = (now, truth.index, truth.step, truth.retry)
        if truth.disconnects is not None:
            visit.reads_s = truth.disconnects.reads_s(self._luck, name)
        self.running[name] = visit
        if len(self.running) > self.max_in_flight:  # noqa: PLR1730 - a third of the time of max()
            self.max_in_flight = len(self.running)
        visit.task = asyncio.Task(self._visit(visit, now), loop=loop, name=name)
        if truth.patience_s < 2 * _LOOK_S:
            loop.at(now + truth.patience_s, visit.lose_patience)
        elif truth.patience_s < _INF:
            self._came.append((now + truth.patience_s, name))
            if not self._looking:
                self._looking = True
                loop.at(now + _LOOK_S, self._look)

    def _look(self) -> None:
        """Give a timer to everyone who has been waiting for one look or two.

        A timer from the start would hold on to every request for as long as its user's patience lasts, long after it
        has been answered: ten times the memory in use, and an entry in the loop's queue for nothing.
        """
        for leaves_s, name in self._stayed:
            visit = self.running.get(name)
            if visit is not None and visit.waiting:
                self._loop.at(leaves_s, visit.lose_patience)
        self._stayed, self._came = self._came, []
        self._looking = bool(self._stayed)
        if self._looking:
            self._loop.at(self._loop.time() + _LOOK_S, self._look)

    async def _visit(self, visit: Visit, arrival_s: float) -> None:
        first_s = _NAN
        response: Response | None = None
        outcome = "ok"
        try:
            response = await self._gateway.send(visit.request, visit)
            first_s = self._loop.time()
            visit.waiting = False
            if visit.reads_s < _INF:
                self._loop.at(first_s + visit.reads_s, visit.disconnect)
            text = await response.read()
            if visit.request.response_schema is not None and not usable(text):
                outcome = BadOutput.word
        except (GatewayError, TimeoutError) as failure:
            outcome = outcome_word(failure)
        except asyncio.CancelledError as failure:
            if not visit.left:
                self.stop(PolicyError("let a CancelledError out that nobody had asked for; it cancelled the request"))
            outcome = outcome_word(failure)
        except Exception as failure:  # a policy broke its contract, or the simulation cannot go on
            self.stop(failure)
            outcome = outcome_word(failure)
        self._leave(visit, response, visit.left or outcome, arrival_s, first_s)

    def _leave(self, visit: Visit, response: Response | None, outcome: str, arrival_s: float, first_s: float) -> None:
        visit.waiting = False
        visit.task = None
        name = visit.request.id
        if self.running.pop(name, None) is None:
            return  # written off before it came to an end
        if not visit.over:
            try:
                visit.finish()
            except PolicyError as failure:  # an on_end callback
                self.stop(failure)
        truth = self._world.truths.pop(name)
        self.done += 1
        self._recorder.request(self._row(visit, response, outcome, first_s))
        failed = outcome != "ok" and outcome != "unfinished"
        comes_back = failed and self._traffic.user_retry.share > 0 and self._maybe_retry(visit.request, truth)
        if truth.session is not None and not comes_back:
            comes_back = self._goes_on(truth.session, visit.request, outcome, response)
        if self._closed_loop and not comes_back:
            self._next_iteration(truth.index + self._traffic.vus, arrival_s)
        if not self._arriving:
            self._check_idle()

    def _next_iteration(self, index: int, arrival_s: float) -> None:
        now, think_s = self._loop.time(), self._think_s(index)
        if not think_s and now <= arrival_s:  # a refusal that took no time: an endless loop at one instant
            think_s = _LEAST_ITERATION_S
        self._loop.at(now + think_s, self._send_vu, index)

    def write_off(self, visit: Visit) -> None:
        """Record a request that will not end, whatever is done to it."""
        assert visit.origin is not None
        self._leave(visit, None, visit.left, visit.origin[0], _NAN)

    def _row(self, visit: Visit, response: Response | None, outcome: str, first_s: float) -> tuple[object, ...]:
        assert visit.origin is not None
        request, (arrival_s, index, step, retry) = visit.request, visit.origin
        now = self._loop.time()
        upstream = served_from = ""
        output_tokens, saved_usd, gap_s, idle_s, ending = 0, 0.0, _NAN, _NAN, ""
        if response is not None:
            upstream, served_from, output_tokens = response.upstream, response.served_from, response.tokens_delivered
            gap_s, ending = response.longest_gap_s, response.finish_reason
            if served_from == "cache" and outcome == "ok":
                saved_usd = self._prices.get(response.origin, FREE).cost(response.usage)
        if outcome != "ok" and not visit.left and visit.attempts:
            idle_s = now - visit.last_end_s
        return (
            index,
            step,
            retry,
            arrival_s,
            request.route,
            request.feature,
            request.tenant,
            request.user,
            visit.replica,
            outcome,
            ending,
            upstream,
            served_from,
            *(_NO_CACHE if visit.cache is None else self._cache_columns(visit.cache, request, outcome)),
            visit.first_choice,
            visit.attempts,
            visit.fallbacks,
            first_s - arrival_s,
            now - arrival_s,
            gap_s,
            request.input_tokens,
            output_tokens,
            visit.cost_usd,
            saved_usd,
            visit.leaked,
            visit.duplicated_tokens,
            visit.non_retryable_retries,
            visit.retry_after_ignored,
            idle_s,
        )

    def _cache_columns(self, use: CacheUse, request: Request, outcome: str) -> tuple[object, ...]:
        """What a cache did for a request; whether its answer was right is known to the lab alone."""
        answered = outcome == "ok" and use.match
        served, made_for, reason = use.match if answered or use.match == "negative" else "", "", ""
        if answered:
            made_for = use.made_for
            reason = self._world.mistake(request.id, made_for, use.made_s, self._loop.time())
        return (
            served,
            use.nearest,
            -1 if reason == "unknown" else bool(reason),
            reason,
            False,  # whether it crossed a scope, or came from another tenant, shows when everybody's rows are there
            False,
            made_for,
            use.verified,
            use.embedded_tokens,
            use.queries,
            use.writes,
            use.verifications,
        )

    def _maybe_retry(self, request: Request, truth: Truth) -> bool:
        """Whether the user presses retry, now or in a while."""
        habit = self._traffic.user_retry
        if truth.session is not None and not truth.session.human:
            return False
        if truth.retry >= habit.limit or self._luck.uniform("user_retry", request.id) >= habit.share:
            return False
        again = truth.again()
        renamed = request._replace(id=f"{truth.index}/{truth.step}/{again.retry}")
        self._coming_back += 1
        self._loop.at(self._loop.time() + self._retry_s(truth.index), self._come_back, renamed, again)
        return True

    def _come_back(self, request: Request, truth: Truth) -> None:
        self._coming_back -= 1
        self._send(request, truth)

    # -- sessions ----------------------------------------------------------------------------------------------

    def _goes_on(self, session: Conversation, request: Request, outcome: str, response: Response | None) -> bool:
        """Whether the session has a next step, after a pause.

        Nobody asks on once the time of arrivals is over: the drain is for what is under way, and a session that had
        more to ask stays unfinished.
        """
        if outcome == "unfinished":
            return True
        end = session.after(outcome, response.tokens_delivered if response is not None else 0)
        if end:
            self._session_event("session", request, {"outcome": end})
            return False
        if session.begins_to_loop:
            self._session_event("runaway", request, {"steps": session.step})
        now = self._loop.time()
        next_s = now + session.pause_s(now)
        if next_s >= self._last_arrival_s:
            self._session_event("session", request, {"outcome": "unfinished"})
        else:
            self._coming_back += 1
            self._loop.at(next_s, self._ask_on, session)
        return True

    def _ask_on(self, session: Conversation) -> None:
        self._coming_back -= 1
        self._send(*session.ask())

    def _session_event(self, kind: str, request: Request, fields: dict[str, object]) -> None:
        self._recorder.emit(kind, request.id, "", "", 0, fields)
