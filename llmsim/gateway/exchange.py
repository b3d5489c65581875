"""What happened to one request inside the gateway: its attempts, and the bookkeeping that no policy can forget.

The pipeline makes an `Exchange` per request and an `Attempt` per call to an upstream, whatever policies or user code
made that call. From them come the attempt table, the cause of each attempt, and the safety counters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol

from llmsim.error_words import outcome_word
from llmsim.errors import GatewayError
from llmsim.gateway.deadlines import cancelled_by
from llmsim.types import NO_USAGE, Outcome, Request, Response, Usage

if TYPE_CHECKING:
    from llmsim.gateway.caching import CacheUse
    from llmsim.gateway.contract import Runtime, Toll

__all__ = ["Attempt", "Exchange", "Tickets", "current_exchange"]

_COUNTS = ("cost_usd", "fallbacks", "leaked", "duplicated_tokens", "non_retryable_retries", "retry_after_ignored")
_ROUNDING_S = 1e-6  # times are sums of floats: who sleeps for exactly as long as was asked is not early

Cause = Literal["first", "retry", "fallback", "hedge"]
#: What a call has paid on its way out, to be settled when it ends.
Tickets = list[tuple["Toll", Any]]


class Home(Protocol):
    """Where requests are counted while they last."""

    in_flight: int


class Router(Protocol):
    """Who chooses upstreams for requests that name none; a fallback without an order of its own asks it."""

    def choose(
        self, request: Request, exchange: Exchange | None, *, larger_than: int = 0, besides: Sequence[str] = ()
    ) -> str | None:
        """The best upstream that this request has not been sent to, nor is about to be; None if there is none left.

        Parameters
        ----------
        larger_than
            None whose context window is known to have so many tokens or less.
        besides
            Upstreams that do not come into question either.
        """

    def addressed(self, request: Request, upstream: str) -> Request:
        """The request on its way to this upstream, with the model it has there."""


class Exchange:
    """One request on its way through the gateway."""

    __slots__ = (
        "answer",
        "attempts",
        "cache",
        "cost_usd",
        "delivered_by_failed",
        "duplicated_tokens",
        "fallbacks",
        "first_choice",
        "home",
        "in_flight",
        "last_end_s",
        "last_error_final",
        "last_upstream",
        "leaked",
        "non_retryable_retries",
        "not_before_s",
        "open",
        "origin",
        "over",
        "refusals",
        "replica",
        "request",
        "retry_after_ignored",
        "router",
        "runtime",
        "sent_to",
        "settled",
        "shared",
        "tried",
        "unsettled",
    )

    def __init__(self, request: Request, runtime: Runtime) -> None:
        self.request = request
        self.runtime = runtime
        self.replica = 0
        self.first_choice = self.last_upstream = self.sent_to = ""
        self.tried: tuple[str, ...] = ()  # upstreams it was addressed to, in order; one that was asked again, again
        self.router: Router | None = None  # set by a policy that chose for it
        self.last_error_final = False  # whether retrying the last attempt cannot cure its error
        self.last_end_s = math.nan
        self.fallbacks = 0
        self.attempts = 0
        self.in_flight = 0
        self.cache: CacheUse | None = None  # what caches did for it, once one was asked
        self.cost_usd = 0.0
        self.leaked = 0
        self.delivered_by_failed = 0
        self.duplicated_tokens = 0
        self.non_retryable_retries = 0
        self.retry_after_ignored = 0
        self.not_before_s: Mapping[str, float] = {}  # until when an upstream asked not to be asked again
        self.refusals = 0  # times a policy left it to luck whether to refuse a call of it: the address of the next draw
        self.open: list[Attempt] = []
        self.unsettled: list[Attempt] = []  # ended well before the gateway answered: was their answer used?
        self.answer: Response | None = None  # the gateway's, until it has ended
        self.shared: list[Response] | None = None  # of calls that are not its own (`hand_out`)
        self.settled = False
        self.over = False
        self.home: Home | None = None  # the replica that handles it, while it counts there
        #: Arrival (loop time) and structural address, where the one who sent it left them for the record.
        self.origin: tuple[float, int, int, int] | None = None

    def routed(self, upstream: str) -> None:
        """The request was addressed to this upstream (nothing may have been sent yet: a breaker can be open)."""
        if not self.first_choice:
            self.first_choice = upstream
        elif upstream != self.first_choice and upstream != self.last_upstream and not self.in_flight:
            self.fallbacks += 1  # while another call of it is under way it is a hedge
        self.last_upstream = upstream
        self.tried += (upstream,)

    def settle(self, response: Response) -> None:
        """The gateway answers with `response`: what else is still open was forgotten by a policy."""
        opened = self.open
        self.settled = True
        if self.shared is not None:
            self._close_shared(response)
        if not self.unsettled:
            if not opened:
                return
            if len(opened) == 1 and opened[0].response is response:
                opened[0].won = True
                return
        kept = [response]
        for one in kept:
            kept.extend(one.parents)
        for attempt in (*opened, *self.unsettled):
            if any(attempt.response is one for one in kept):
                attempt.won = True
        self._report()
        if len(opened) > 1 and any(attempt.won for attempt in opened):
            self._close({id(one) for one in kept})

    def joined(self, response: Response) -> None:
        """`response` is, or will be, one part of an answer that can go on elsewhere when it breaks.

        What it delivered stays good then, so it is not settled with its end, but with that of the whole.
        """
        parts = [response]
        for part in parts:
            parts.extend(part.parents)
        for attempt in (*self.open, *self.unsettled):
            if any(attempt.response is part for part in parts):
                attempt.spliced, attempt.won = True, attempt.won or self.settled

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        """The answer has ended, and with it the request."""
        self.answer = None
        home = self.home
        if home is not None:
            home.in_flight -= 1
            self.home = None  # a timer's context may hold this exchange on: not the gateway with it
        if self.open or self.shared is not None:
            self.finish()
        self.over = True  # all that is left to do, usually

    def finish(self) -> None:
        """The request is over: whatever is still open, or answers from now on, leaked."""
        self.settled = True
        if self.unsettled:
            self._report()
        leaked = self.leaked
        if self.open:
            self._close(set())
        self.over = True
        if self.shared is not None:
            self._close_shared(None)
        answer, self.answer = self.answer, None
        if answer is not None and answer.outcome is None:  # from a cache, say: no attempt's response
            if self.leaked == leaked:
                self._leak(0, "", answer.upstream, answer)
            else:  # made of what has just been closed
                answer.close()

    def _report(self) -> None:
        for attempt in self.unsettled:
            attempt.report()
        self.unsettled.clear()

    def _close(self, keep: set[int]) -> None:
        for attempt in tuple(self.open):
            response = attempt.response
            if response is not None and response.outcome is None and id(response) not in keep:
                self.leak(attempt, response)

    def leak(self, attempt: Attempt, response: Response) -> None:
        """Close what nobody will read, and say so."""
        self._leak(attempt.number, attempt.lost_by, attempt.upstream, response)

    def _leak(self, number: int, lost_by: str, upstream: str, response: Response) -> None:
        self.leaked += 1
        fields = {"attempt": number, "after_the_request": self.over}
        self.runtime.emit("leaked_stream", self.request.id, lost_by, upstream, self.replica, fields)
        response.close()

    def _close_shared(self, answer: Response | None) -> None:
        """As `_close`, for shares of calls that are other requests' attempts: number 0."""
        kept = [] if answer is None else [answer]
        for one in kept:
            kept.extend(one.parents)
        shared, self.shared = self.shared or (), None
        for response in shared:
            if response.outcome is None:
                if any(response is one for one in kept):
                    self.shared = [*(self.shared or ()), response]
                else:
                    self._leak(0, "", response.upstream, response)

    def hand_out(self, response: Response) -> None:
        """The request got a share of a call that is not its own; it is closed like an attempt's, should it be lost."""
        if self.over:
            self._leak(0, "", response.upstream, response)
        else:
            self.shared = [*(self.shared or ()), response]

    def apart(self) -> Exchange:
        """An exchange for a call that several requests share, begun where this one stands: it may outlive this one.

        It is this request's until `paid_by` says otherwise; once over, `pay_for` takes it into somebody's account.
        """
        other = Exchange(self.request, self.runtime)
        other.origin, other.replica, other.attempts = self.origin, self.replica, self.attempts
        other.first_choice, other.last_upstream, other.sent_to = self.first_choice, self.last_upstream, self.sent_to
        other.last_error_final, other.delivered_by_failed = self.last_error_final, self.delivered_by_failed
        other.not_before_s = self.not_before_s
        return other

    def paid_by(self, payer: Exchange) -> None:
        """Whose attempts these are, from now on; what has been reported is counted before (`pay_for`)."""
        self.request, self.origin, self.replica = payer.request, payer.origin, payer.replica

    def pay_for(self, other: Exchange, begun: int, *, still_open: bool = True) -> int:
        """Take over what was counted in `other` so far, once: `begun` attempts were counted before.

        Parameters
        ----------
        still_open
            Whether attempts that have not been reported are this one's, too.

        Returns
        -------
        int
            Attempts that have been counted by now.
        """
        counted = other.attempts - (0 if still_open else len(other.open) + len(other.unsettled))
        self.attempts += counted - begun
        for count in _COUNTS:
            setattr(self, count, getattr(self, count) + getattr(other, count))
            setattr(other, count, 0)
        self.first_choice = self.first_choice or other.first_choice
        self.last_upstream, self.sent_to = other.last_upstream, other.sent_to
        self.last_error_final, self.not_before_s = other.last_error_final, other.not_before_s
        self.delivered_by_failed = other.delivered_by_failed if self.settled else 0
        self.last_end_s = other.last_end_s
        return counted


class Attempt:
    """One call to an upstream. Called with the outcome when its response ends."""

    __slots__ = (
        "cause",
        "cost_usd",
        "end_s",
        "exchange",
        "first_s",
        "lost_by",
        "model",
        "number",
        "outcome",
        "response",
        "spliced",
        "start_s",
        "status",
        "tickets",
        "upstream",
        "usage",
        "won",
    )

    def __init__(self, exchange: Exchange, upstream: str, model: str, start_s: float) -> None:
        self.exchange = exchange
        self.upstream = upstream
        self.model = model
        self.start_s = start_s
        self.first_s = math.nan
        self.end_s = math.nan
        self.outcome = ""
        self.status = 0
        self.won = False
        self.spliced = False  # part of an answer that may go on elsewhere
        self.lost_by = ""  # the policy that forgot it, should nobody close it
        self.response: Response | None = None
        self.usage = NO_USAGE
        self.cost_usd = 0.0
        self.tickets: Tickets | None = None
        exchange.attempts += 1
        self.number = exchange.attempts
        self.cause: Cause = "first"
        if self.number > 1:
            self._place(exchange)
        exchange.sent_to = upstream
        exchange.in_flight += 1
        exchange.open.append(self)

    def _place(self, exchange: Exchange) -> None:
        if exchange.in_flight:
            self.cause = "hedge"
        elif self.upstream == exchange.sent_to:
            self.cause = "retry"
            if exchange.last_error_final:
                exchange.non_retryable_retries += 1
        else:
            self.cause = "fallback"
        if exchange.delivered_by_failed:
            exchange.duplicated_tokens += exchange.delivered_by_failed
            exchange.delivered_by_failed = 0
        if self.start_s + _ROUNDING_S < exchange.not_before_s.get(self.upstream, -math.inf):
            exchange.retry_after_ignored += 1

    def answered(self, response: Response, now: float) -> None:
        """The first chunk is there."""
        self.first_s = now
        self.response = response
        self.status = response.status
        response.on_end(self._ended)
        if self.exchange.over:  # a loser that nobody cancelled
            self.exchange.leak(self, response)

    def _ended(self, outcome: Outcome, usage: Usage) -> None:
        exchange = self.exchange
        if outcome.kind == "error":
            assert self.response is not None
            if exchange.settled:  # else a policy was reading, and the caller has nothing of it
                exchange.delivered_by_failed = self.response.tokens_delivered
            self._close(outcome_word(outcome.error), outcome.error, usage)
        else:
            self._close(outcome.kind, None, usage)

    def failed(self, error: BaseException, usage: Usage) -> None:
        """It ended before a first chunk."""
        if isinstance(error, Exception):
            self.status = getattr(error, "status", None) or 0
            self._close(outcome_word(error), error, usage)
        else:
            # A time limit cancels the call with its own word; any other cancellation is a caller who went away.
            self._close(cancelled_by(error) or "cancelled", None, usage)

    def _close(self, outcome: str, error: BaseException | None, usage: Usage) -> None:
        exchange = self.exchange
        self.outcome = outcome
        self.usage = usage
        exchange.last_end_s = self.end_s = exchange.runtime.now()
        # Not the error itself: its traceback leads back here, and such circles only the cyclic collector can free.
        exchange.last_error_final = error is not None and isinstance(error, GatewayError) and not error.retryable
        if error is not None and (asked_s := getattr(error, "retry_after_s", None)) is not None:
            exchange.not_before_s = {**exchange.not_before_s, self.upstream: self.end_s + asked_s}
        exchange.in_flight -= 1
        exchange.open.remove(self)
        tickets = self.tickets
        if tickets is not None:
            self.tickets = None
            for toll, ticket in tickets:
                toll.after_attempt(ticket, usage)
        if exchange.settled or (outcome != "ok" and not self.spliced):
            self.report()
        else:  # a policy has read it to the end; `won` shows when the gateway answers
            exchange.unsettled.append(self)

    def report(self) -> None:
        """Hand it to whoever records attempts."""
        exchange = self.exchange
        exchange.runtime.attempt_ended(self)
        exchange.cost_usd += self.cost_usd


current_exchange: ContextVar[Exchange] = ContextVar("llmsim_exchange")
