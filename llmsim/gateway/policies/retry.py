"""Try again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from llmsim.algorithms.backoff import Backoff
from llmsim.constructors import checked_values
from llmsim.error_words import ERROR_WORDS, error_matcher, outcome_word
from llmsim.errors import AuthError, BadRequest, BudgetExceeded, DeadlineExceeded, QuotaExhausted
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.policies.marks import Marks, given_up, retried
from llmsim.gateway.policies.retry_budgets import ActiveBudget, Budgets, Quota, Visit
from llmsim.gateway.registry import register
from llmsim.gateway.whole import read_whole
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount, PositiveDuration, Rate, Ratio

__all__ = ["Retry", "RetryRule"]

#: What is said about a Retry-After that is honoured, and the defaults of it.
_ASKED = {"retry_after_jitter": True, "max_retry_after": 60.0, "beyond_max_retry_after": "give_up"}

#: Not retried even where a status or ``any`` matches: the same call cannot end differently, or must not be made.
_NEVER = (QuotaExhausted, BadRequest, AuthError, BudgetExceeded, DeadlineExceeded)
_NEVER_WORDS = {cls.word for cls in _NEVER} | {"context_too_long", "content_filtered"}


def _curable(words: OnWords) -> None:
    for word in words:
        if word in _NEVER_WORDS:
            raise ValueError(f"retrying does not cure {word}; take it out of on: (a fallback can handle it)")


def _statuses(words: OnWords) -> OnWords:
    return tuple(word for word in words if str(word) not in ERROR_WORDS)


@checked_values
@dataclass(frozen=True, kw_only=True)
class RetryRule:
    """What is different for some errors.

    Parameters
    ----------
    on
        Which: words and statuses, as in a retry's own `on`.
    max_attempts
        Calls in all after such an error; 1: it is never retried.
    backoff
        How long to wait after it.

    Examples
    --------
    >>> RetryRule(on=("rate_limited",))
    Traceback (most recent call last):
    ValueError: this rule changes nothing; give it max_attempts or a backoff, or put its words into the retry's own on
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    on: OnWords
    max_attempts: PositiveCount | None = None
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        on_words(self)
        if self.max_attempts is None and self.backoff is None:
            raise ValueError(
                "this rule changes nothing; give it max_attempts or a backoff, or put its words into the retry's own on"
            )
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first; write 1 for no retry, not {self.max_attempts}")
        if self.max_attempts != 1:
            _curable(self.on)
        elif self.backoff is not None:
            raise ValueError("backoff has no effect with max_attempts: 1; remove one of them")


@register("retry")
@dataclass(frozen=True, kw_only=True)
class Retry:
    """Send a failed request again, to the same place, after a while.

    **Protects from** short faults: a dropped connection, a moment of overload, a per-minute limit.

    **Costs** latency for the request that waits, and load for the upstream: with three attempts and every attempt
    failing, three times the load, just when it can bear it least. Retries at several layers multiply (3 × 3 × 5 = 45
    calls for one request: mpfaffenberger/code_puppy PR 317), so retry in one place.

    **Makes things worse** when the upstream is down because of load: it may then stay down after the load is gone
    (``scenarios/metastable.yaml``). Set a budget; put a circuit breaker below.

    What it does not do: sleep after the last attempt; sleep past the request's deadline; retry an error that waiting
    does not cure (quota, bad request, authentication), whatever `on` says, unless it goes `by_status`; retry what a
    retry further in has given up on, unless told to `multiply`; retry once the caller holds a response, since tokens
    that were delivered cannot be taken back (`buffer` holds them back instead).

    Parameters
    ----------
    max_attempts
        Calls in all, the first included. 3 is botocore's, and what two retries of the OpenAI SDK make.
    backoff
        How long to wait between them.
    on
        Which errors: words of `llmsim.error_words.ERROR_WORDS` and statuses.
    rules
        What is different for some errors; the first that matches holds, and what matches none goes by `on`. AWS waits
        up to 1 s at first after throttling and up to 50 ms after other errors (botocore 1.44.5)::

            rules: [{on: [rate_limited], backoff: {initial: 1s, max: 20s}}]
            backoff: {initial: 50ms, max: 20s}
    honor_retry_after
        Wait at least as long as the upstream asks, with jitter on top (so that a crowd does not return as one).
    retry_after_jitter
        False: wait exactly as long as asked, as SDKs do (openai-python 2.54.0, anthropic 2.12.0).
    max_retry_after
        Give up at once when the upstream asks for more than this, so that a fallback outside can take over
        (fallbacks delayed for minutes: timbal-ai/timbal PR 117). 60 s is what LiteLLM and Portkey accept at most.
    beyond_max_retry_after
        ``back_off``: then do as if nothing had been asked, as LiteLLM's router does (1.106.2).
    by_status
        Go by the statuses in `on`, as SDKs do, also where it is known that waiting does not cure: a quota that is used
        up is retried as any 429 (openai-python 2.54.0 looks at 408, 409, 429 and 5xx, and at nothing else).
    honor_should_retry
        Heed an upstream's ``x-should-retry`` header (OpenAI, Anthropic): ``false`` ends it, ``true`` retries also what
        is not in `on`.
    budget
        Retries at most this share of the requests of the last 10 s, per replica unless `shared`; None: no limit.
        Finagle has 20%, Google 10% ("Handling Overload", Site Reliability Engineering, ch. 21).
    budget_minimum
        Retries that are free besides `budget`. Finagle has 10/s for RPC clients with thousands of calls per second;
        a gateway replica sees a few, at which that would never bind, hence 1/s.
    active_budget
        Retries in flight at most a share of the requests in flight: Envoy's ``{share: 20%, minimum: 3}``.
    quota
        A bucket that retries drain and successes fill: AWS's ``{capacity: 500, cost: 14, rate_limited_cost: 5}``.
    max_failure_rate
        No retries while more calls than this share of the requests of the last 10 s failed; 10% in Brooker's "Fixing
        retries with token buckets and circuit breakers". A cliff where a budget is a slope: at a request every two
        seconds a single failure ends all retries for ten.
    buffer
        Hand out an answer only once it is complete, so that one which breaks on the way can be asked again. The first
        token then comes with the last. Nothing in between is possible: an answer is handed out with its first token,
        and who has that cannot be given another.
    multiply
        Retry also what a retry further in has already retried. Attempts multiply.
    shared
        One set of budgets for all replicas of the gateway instead of one each.

    Notes
    -----
    Emits ``retry`` (``attempt``: number of the attempt to come, ``delay_s``, ``error``), and ``retry_refused``
    (``attempt``, ``error``, ``reason``: ``retried``, ``should_retry``, ``retry_after``, ``deadline``, ``failure_rate``
    or ``budget``).

    An error that it gives up on is marked, and that is what a retry further out goes by. Code of one's own that retries
    can mark its errors too: ``raise given_up(error)``, from ``llmsim.gateway.policies``.

    Examples
    --------
    >>> from llmsim.algorithms.backoff import Backoff
    >>> Retry(max_attempts=4, backoff=Backoff(initial=0.5), budget=0.2).backoff.ceiling(3)
    2.0
    >>> Retry(on=("quota_exhausted",))
    Traceback (most recent call last):
    ValueError: retrying does not cure quota_exhausted; take it out of on: (a fallback can handle it)
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    max_attempts: PositiveCount = 3
    backoff: Backoff = field(default_factory=Backoff)
    on: OnWords = ("rate_limited", "server_error", "timeout", "connection_failed")
    rules: tuple[RetryRule, ...] = ()
    honor_retry_after: bool = True
    retry_after_jitter: bool = True
    max_retry_after: PositiveDuration = 60.0
    beyond_max_retry_after: Literal["give_up", "back_off"] = "give_up"
    by_status: bool = False
    honor_should_retry: bool = True
    budget: Ratio | None = None
    budget_minimum: Rate = 1.0
    active_budget: ActiveBudget | None = None
    quota: Quota | None = None
    max_failure_rate: Ratio | None = None
    buffer: bool = False
    multiply: bool = False
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first; write 1 for no retry, not {self.max_attempts}")
        on_words(self)
        _curable(self.on)
        object.__setattr__(self, "rules", tuple(self.rules))
        self._check_rules()
        for key in ("budget", "max_failure_rate"):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{key} is a share of requests, 0% to 100%, not {value:g}; write 20%")
        if not self.budget_minimum >= 0:
            raise ValueError(f"budget_minimum must not be negative, like {self.budget_minimum:g}; write it like 1/s")
        if not self.max_retry_after > 0:
            raise ValueError(f"max_retry_after must be above 0, not {self.max_retry_after:g}; write it like 60s")
        self._check_idle()
        if self.buffer and not {"stream_broken", "any"} & {
            *self.on,
            *(word for rule in self.rules for word in rule.on),
        }:
            raise ValueError("buffer is there to retry broken streams; add stream_broken to on:, or remove buffer")

    def _check_idle(self) -> None:
        if not self.honor_retry_after:
            for key, default in _ASKED.items():
                if getattr(self, key) != default:
                    raise ValueError(f"{key} has no effect with honor_retry_after: false; remove one of them")
        if self.by_status and not _statuses(self.on):
            raise ValueError("by_status has no effect without statuses; write them into on: [408, 409, 429, 5xx]")
        if self.budget is None and self.budget_minimum != 1.0:
            raise ValueError("budget_minimum has no effect without budget; write budget: 20%, or remove it")

    def _check_rules(self) -> None:
        earlier: tuple[type[BaseException], ...] = ()
        for number, rule in enumerate(self.rules):
            classes = [ERROR_WORDS.get(str(word)) for word in rule.on]
            if all(found is not None and all(issubclass(one, earlier) for one in found) for found in classes):
                words = ", ".join(map(str, rule.on))
                raise ValueError(f"rule {number + 1} on {words} is never reached: rules before it match all of that")
            earlier += tuple(one for found in classes if found is not None for one in found)

    def start(self, run: Run) -> Handler:
        """Fresh state: the budgets."""
        return _RetryHandler(self, run)


class _Rule(NamedTuple):
    matches: Callable[[BaseException], bool]
    max_attempts: int
    backoff: Backoff


class _RetryHandler:
    __slots__ = ("_budgets", "_buffer", "_by_status", "_now", "_rest", "_rules", "_run", "_spec")

    def __init__(self, spec: Retry, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._buffer = spec.buffer
        self._rest = _Rule(error_matcher(spec.on), spec.max_attempts, spec.backoff)
        self._rules = (
            *(
                _Rule(error_matcher(rule.on), rule.max_attempts or spec.max_attempts, rule.backoff or spec.backoff)
                for rule in spec.rules
            ),
            self._rest,
        )
        limits = (spec.budget, spec.active_budget, spec.quota, spec.max_failure_rate)
        self._by_status = error_matcher(_statuses(spec.on)) if spec.by_status else None
        self._budgets = Budgets(spec) if any(limit is not None for limit in limits) else None

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        visit = None if self._budgets is None else self._budgets.begin(self._now())
        buffer = self._buffer and request.stream  # without a stream every failure comes before the answer
        attempt = 1
        backoff_s = 0.0
        try:
            while True:
                marks = Marks.number
                try:
                    response = await call_next(request)
                    if buffer:
                        response = await read_whole(response)
                    break
                except Exception as error:
                    if visit is not None:
                        visit.attempt_over()
                    inner = not self._spec.multiply and retried(error, marks)
                    waits = self._waits(request, error, attempt, backoff_s, visit, inner=inner)
                    if waits is None:
                        raise
                    backoff_s, delay_s = waits
                    attempt += 1
                    self._run.emit("retry", request, attempt=attempt, delay_s=delay_s, error=outcome_word(error))
                # Outside of the except block: what fails next is not "during handling of" this error.
                await asyncio.sleep(delay_s)
        except BaseException:
            if visit is not None:
                visit.over()
            raise
        if visit is not None:
            response.on_end(visit.ended)
        return response

    def _waits(
        self, request: Request, error: Exception, attempt: int, backoff_s: float, visit: Visit | None, *, inner: bool
    ) -> tuple[float, float] | None:
        """What the backoff says, and seconds until the next attempt; None if there must not be one."""
        told = self._told(error)
        rule = self._rule(error, told=told)
        if rule is None or (isinstance(error, _NEVER) and not self._listed(error, told=told)):
            return None
        now = self._now()
        few = self._budgets is None or self._budgets.failed(now)
        if attempt >= rule.max_attempts:
            if rule.max_attempts > 1:
                given_up(error)
            return None
        luck = self._run.luck("backoff", request, attempt)
        backoff_s = rule.backoff.delay(attempt, luck, backoff_s)
        delay_s = self._delay(error, rule.backoff, attempt, luck, backoff_s)
        if inner:
            reason = "retried"
        elif told is False:
            reason = "should_retry"
        elif delay_s is None:
            reason = "retry_after"
        elif request.deadline_s is not None and now + delay_s >= request.deadline_s:
            reason = "deadline"
        elif not few:
            reason = "failure_rate"
        elif self._budgets is not None and not self._budgets.withdraw(error, visit, now):
            reason = "budget"
        else:
            return backoff_s, delay_s
        given_up(error)
        self._run.emit("retry_refused", request, attempt=attempt + 1, error=outcome_word(error), reason=reason)
        return None

    def _rule(self, error: Exception, *, told: bool | None) -> _Rule | None:
        """What holds for this error, if anything does."""
        for rule in self._rules:
            if rule.matches(error):
                return rule
        return self._rest if told else None

    def _listed(self, error: Exception, *, told: bool | None) -> bool:
        """Whether this is retried for its status, or since the upstream says so, whatever it is."""
        return self._by_status is not None and (told is True or self._by_status(error))

    def _told(self, error: Exception) -> bool | None:
        """What the upstream says about trying again, if it says anything."""
        headers = getattr(error, "headers", None)
        if not headers or not self._spec.honor_should_retry:
            return None
        return {"true": True, "false": False}.get(headers.get("x-should-retry", ""))

    def _delay(self, error: Exception, backoff: Backoff, attempt: int, luck: float, backoff_s: float) -> float | None:
        """`backoff_s`, or what the upstream asks for; None if that is too long."""
        spec = self._spec
        retry_after_s: float | None = getattr(error, "retry_after_s", None)
        if retry_after_s is None or not spec.honor_retry_after:
            return backoff_s
        if retry_after_s > spec.max_retry_after:
            return backoff_s if spec.beyond_max_retry_after == "back_off" else None
        if not spec.retry_after_jitter:
            return retry_after_s if retry_after_s > 0 else backoff_s
        return backoff.after(retry_after_s, attempt, luck, backoff_s)
