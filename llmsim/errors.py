"""One tree of errors: everything that llmsim raises on purpose, and everything a gateway's caller can see.

::

    LlmsimError
    ├── ScenarioError                 a scenario file or an override is wrong (all problems at once)
    ├── EngineError
    │   ├── DeadlockError             nothing left to happen, tasks still waiting
    │   ├── EventBudgetError          more events than the run was allowed
    │   ├── VirtualTimeError          real time, threads or sockets inside a simulation
    │   └── SimulationInterrupted     stopped by the user; says what had to be abandoned
    ├── PolicyError                   a policy broke its contract (names the policy and the user's line)
    └── GatewayError                  what a caller of the gateway can see
        ├── RateLimited               429, try later            ├── QuotaExhausted  429, do not try later
        ├── ServerError               5xx                       │   └── Overloaded  503 / 529
        ├── ConnectionFailed          no answer at all
        ├── TimedOut (TimeoutError)   ── TtftTimeout, StreamStalled, TotalTimeout
        ├── StreamBroken              the stream ended early    ├── DeadlineExceeded
        ├── CircuitOpen               ├── Rejected              ├── BudgetExceeded
        ├── BadRequest                ── ContextTooLong, ContentFiltered
        ├── AuthError                 ├── BadOutput
        └── AllUpstreamsFailed        .causes, in the order they happened
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "AllUpstreamsFailed",
    "AuthError",
    "BadOutput",
    "BadRequest",
    "BudgetExceeded",
    "CircuitOpen",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "DeadlineExceeded",
    "DeadlockError",
    "EngineError",
    "EventBudgetError",
    "GatewayError",
    "LlmsimError",
    "Overloaded",
    "PolicyError",
    "Problem",
    "QuotaExhausted",
    "RateLimited",
    "Rejected",
    "ScenarioError",
    "ServerError",
    "SimulationInterrupted",
    "StreamBroken",
    "StreamStalled",
    "TimedOut",
    "TotalTimeout",
    "TtftTimeout",
    "VirtualTimeError",
    "request_id_of",
]


class LlmsimError(Exception):
    """Root of everything llmsim raises on purpose."""


class Problem(NamedTuple):
    """One thing that is wrong in a scenario file: where it stands and what to type instead."""

    message: str
    path: str = ""  #: dotted key path, ``gateway.policies[2].retry.max_attempts``
    line: int | None = None  #: 1-based
    column: int | None = None  #: 1-based
    hint: str = ""  #: what to type instead


class ScenarioError(LlmsimError):
    """A scenario (file, mapping or ``--set`` override) is wrong. Carries every problem found.

    Parameters
    ----------
    problems
        All problems, in file order.
    source
        What the user called the input: a file name, ``"--set"``.
    """

    def __init__(self, problems: Sequence[Problem] | str, source: str = "") -> None:
        self.problems: list[Problem] = [Problem(problems)] if isinstance(problems, str) else list(problems)
        self.source = source
        super().__init__(self.render())

    def render(self) -> str:
        """One line a problem: ``file:line:column: key: message. hint``."""
        lines = []
        for problem in self.problems:
            where = self.source or "scenario"
            if problem.line is not None:
                where += f":{problem.line}:{problem.column or 1}"
            key = f" {problem.path}:" if problem.path else ""
            stop = "." if problem.hint and problem.message[-1:] not in ".?!…" else ""
            hint = f"{stop} {problem.hint}" if problem.hint else ""
            lines.append(f"{where}:{key} {problem.message}{hint}")
        return "\n".join(lines)


class EngineError(LlmsimError):
    """The simulation itself could not go on."""


class DeadlockError(EngineError):
    """Nothing is left in the event queue, and tasks still wait: they would wait for ever."""


class EventBudgetError(EngineError):
    """The run processed more events than its budget: usually a loop that sleeps zero seconds."""


class VirtualTimeError(EngineError):
    """Code inside a simulation touched the real world: a thread, a socket, a blocking sleep."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        from llmsim.places import notebook_traceback

        return notebook_traceback(self)


class SimulationInterrupted(EngineError):
    """The user stopped the run. ``abandoned`` says what would not stop, ``partial`` is the run so far."""

    def __init__(self, message: str, *, abandoned: str = "", partial: Any = None) -> None:
        super().__init__(message)
        self.abandoned = abandoned
        self.partial = partial


class PolicyError(LlmsimError):
    """A policy broke its contract: wrong return type, leaked stream, an exception of its own.

    Parameters
    ----------
    message
        What it did and what it should do instead.
    policy
        The name the policy goes by in the gateway.
    where
        ``file:line`` of the user's code, as far as it is known.
    """

    def __init__(self, message: str, *, policy: str = "", where: str = "") -> None:
        self.policy = policy
        self.where = where
        place = f" ({where})" if where else ""
        super().__init__(f"policy {policy!r}{place}: {message}" if policy else message + place)

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        from llmsim.places import notebook_traceback

        return notebook_traceback(self)


class GatewayError(LlmsimError):
    """A request or an attempt failed in a way the gateway's caller can see.

    Parameters
    ----------
    message
        What happened, in the upstream's words where it gave any.
    upstream
        Name of the upstream that answered (empty: the gateway itself).
    status
        HTTP status, where there was one.
    headers, body
        What the upstream sent, unparsed, so that a policy can look for itself.
    retry_after_s
        Seconds the upstream asked to wait.
    """

    word: ClassVar[str] = "error"  #: the name of this failure in tables, metrics and ``on:`` lists
    default_status: ClassVar[int | None] = None
    retryable: ClassVar[bool] = False  #: can the same call to the same upstream be expected to succeed later?

    def __init__(
        self,
        message: str = "",
        *,
        upstream: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message or self.word)
        self.upstream = upstream
        self.status = self.default_status if status is None else status
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.body = body
        self.retry_after_s = retry_after_s

    @property
    def request_id(self) -> str:
        """What the upstream calls this request, for its support; empty where it did not say."""
        return request_id_of(self.headers) or _request_id_in(self.body)


#: Where vendors put the id of a request, the most specific first. OpenAI and its copies: ``x-request-id``; Anthropic:
#: ``request-id``; Azure: ``apim-request-id`` (learn.microsoft.com, API Management); AWS: ``x-amzn-requestid``.
_REQUEST_IDS = ("request-id", "x-request-id", "apim-request-id", "x-ms-request-id", "x-amzn-requestid")


def request_id_of(headers: Mapping[str, str]) -> str:
    """The upstream's id of a request, out of the headers of its answer (lower-case names); empty without one.

    Examples
    --------
    >>> request_id_of({"content-type": "text/html", "request-id": "req_011"})
    'req_011'
    """
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), "")


def _request_id_in(body: Any) -> str:
    """Anthropic's error objects have the id too: those in a stream arrive where proxies may have dropped the header."""
    if not isinstance(body, str) or '"request_id"' not in body:
        return ""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    value = found.get("request_id") if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


class RateLimited(GatewayError):
    """429: too fast. ``retry_after_s`` where the upstream said how long to wait."""

    word = "rate_limited"
    default_status = 429
    retryable = True


class QuotaExhausted(GatewayError):
    """429 that waiting does not cure: credit or a daily quota is gone."""

    word = "quota_exhausted"
    default_status = 429


class ServerError(GatewayError):
    """5xx from an upstream."""

    word = "server_error"
    default_status = 500
    retryable = True


class Overloaded(ServerError):
    """503 or 529: the upstream sheds load."""

    word = "overloaded"
    default_status = 503


class ConnectionFailed(GatewayError):
    """No HTTP answer: refused, reset before the first byte, unknown host."""

    word = "connection_failed"
    retryable = True


class TimedOut(GatewayError, TimeoutError):
    """A per-attempt time limit passed. Also a builtin ``TimeoutError``."""

    word = "timeout"
    retryable = True


class TtftTimeout(TimedOut):
    """No first chunk in time."""

    word = "ttft_timeout"


class _AfterTokens(GatewayError):
    """A failure that can come after some of the answer was delivered."""

    def __init__(self, message: str = "", *, tokens_delivered: int = 0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.tokens_delivered = tokens_delivered


class StreamStalled(_AfterTokens, TimedOut):
    """The stream fell silent for longer than the inter-token limit."""

    word = "stream_stalled"


class TotalTimeout(_AfterTokens, TimedOut):
    """The whole call took longer than its limit."""

    word = "total_timeout"


class StreamBroken(_AfterTokens):
    """The stream ended before its end: connection cut, error event after the 200, no finish reason."""

    word = "stream_broken"
    retryable = True


class DeadlineExceeded(_AfterTokens):
    """The request's own deadline passed; no attempt can help any more."""

    word = "deadline_exceeded"


class CircuitOpen(GatewayError):
    """The circuit breaker of this upstream is open; nothing was sent."""

    word = "circuit_open"


class Rejected(GatewayError):
    """The gateway itself turned the request away (admission, load shedding, waiting room full)."""

    word = "rejected"


class BudgetExceeded(GatewayError):
    """A spending limit would be passed."""

    word = "budget_exceeded"


class BadRequest(GatewayError):
    """400: sending the same again gives the same answer."""

    word = "bad_request"
    default_status = 400


class ContextTooLong(BadRequest):
    """The prompt does not fit the model."""

    word = "context_too_long"


class ContentFiltered(BadRequest):
    """Refused by a content filter."""

    word = "content_filtered"


class AuthError(GatewayError):
    """401 or 403."""

    word = "auth_error"
    default_status = 401


class BadOutput(GatewayError):
    """The model answered, but not in the form that was asked for."""

    word = "bad_output"
    retryable = True


class AllUpstreamsFailed(GatewayError):
    """Every upstream of a fallback order failed; ``causes`` holds each one's error, in order.

    ``retry_after_s`` is the shortest of theirs: then the first of them may answer again.
    """

    word = "all_upstreams_failed"

    def __init__(self, message: str = "", *, causes: Sequence[BaseException] = (), **fields: Any) -> None:
        waits = [wait for wait in (getattr(cause, "retry_after_s", None) for cause in causes) if wait is not None]
        fields.setdefault("retry_after_s", min(waits, default=None))
        super().__init__(message or _all_failed(causes), **fields)
        self.causes = tuple(causes)


def _all_failed(causes: Sequence[BaseException]) -> str:
    return "every upstream failed: " + "; ".join(
        f"{getattr(cause, 'upstream', '') or '?'}: {getattr(cause, 'word', type(cause).__name__)}" for cause in causes
    )
