"""What every dialect can do, and what the simplest of them does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from llmsim.errors import (
    AuthError,
    ContentFiltered,
    ContextTooLong,
    GatewayError,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from llmsim.providers.dialects.account import Account, Accounting, LimitHeaders, Refused, Ticket
from llmsim.providers.dialects.answers import NO_HEADERS, Answer, in_ms, rendered
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import INPUT, OUTPUT, REQUESTS, TOTAL, Bucket, Meter

__all__ = ["KINDS", "Dialect", "Generic"]

#: What each failure is in the error tree.
KINDS: dict[Failure, type[GatewayError]] = {
    "server_error": ServerError,
    "overloaded": Overloaded,
    "slow_down": RateLimited,
    "quota": QuotaExhausted,
    "auth": AuthError,
    "context_too_long": ContextTooLong,
    "content_filter": ContentFiltered,
    "in_stream": Overloaded,
}

_DRAWS = {"requests": REQUESTS, "tokens": TOTAL, "input_tokens": INPUT, "output_tokens": OUTPUT}


class Dialect:
    """How one vendor counts and what it answers. Stateless: everything that changes is in its accounts.

    Subclasses say `name`, which words they `reads`, and implement `_meters`, `_accounting`, `refusal` and `failure`.
    """

    name: ClassVar[str] = ""
    reads: ClassVar[frozenset[str]] = frozenset()
    #: Whether the ``max_tokens`` that are asked for must fit into the context window beside the prompt.
    window_holds_max_tokens: ClassVar[bool] = False

    @property
    def has_headers(self) -> bool:
        """Whether its answers say anything about the limits."""
        return type(self).headers is not Dialect.headers

    def account(self, limits: Limits, *, epoch_s: float = 0.0) -> Account:
        """A fresh account with these limits.

        Raises
        ------
        ValueError
            A word that this dialect does not read; the message says which.
        """
        self.check(limits)
        return Account(self._meters(limits, epoch_s), self._accounting(limits), limits, epoch_s)

    def check(self, limits: Limits) -> None:
        """Refuse words that would have no effect."""
        strange = [word for word in limits.words() if word not in self.reads]
        if strange:
            words = ", ".join(sorted(self.reads)) or "no limits at all"
            raise ValueError(f"the dialect {self.name} does not know {', '.join(strange)}; it knows {words}")
        if limits.burst is not None and limits.requests is None:
            raise ValueError("burst holds requests to a shorter time; write requests: 500/min beside it")

    def success(self, account: Account, ticket: Ticket) -> Mapping[str, str]:
        """Headers of the answer to an admitted call; written out when they are looked at."""
        return LimitHeaders(self.headers, account, ticket)

    def _with_limits(self, account: Account, refused: Refused, more: dict[str, str]) -> Mapping[str, str]:
        """Headers of a refusal."""
        return LimitHeaders(self.headers, account, (refused.now, 0.0, 0.0, refused.levels), more)

    def headers(self, account: Account, levels: Sequence[float], now: float) -> dict[str, str]:
        """What an answer says about the limits: `levels` are what the account's meters had left at `now`."""
        return {}

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        """The answer to a call that the account did not admit."""
        raise NotImplementedError

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        """The answer to a call that fails for another reason.

        Parameters
        ----------
        kind
            Which.
        model
            The model that was asked for.
        input_tokens, context_tokens, output_tokens
            For ``context_too_long``: how long the prompt is, what fits, and the ``max_tokens`` that were asked for.
        """
        raise NotImplementedError

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        return []

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting()


class Generic(Dialect):
    """No vendor's: buckets with continuous refill; a refused call costs nothing and is told exactly how long to wait.

    A call is charged its input and the output it will have when it is admitted, as if it were settled at once. All
    limits are of one `Limits.window`, but for that of requests per second, which may stand beside them.
    """

    name = "generic"
    reads = frozenset({*_DRAWS, "requests_per_second", "window", "retry_after"})

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        span_s = 60.0 if limits.window is None else limits.window
        rates = [(word, draws, getattr(limits, word)) for word, draws in _DRAWS.items()]
        meters: list[Meter] = [Bucket(word, draws, rate, span_s) for word, draws, rate in rates if rate is not None]
        if limits.requests_per_second is not None:
            meters.append(Bucket("requests_per_second", REQUESTS, float(limits.requests_per_second), 1.0))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting(foresees=True)

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        limits = account.limits
        span_s = 1.0 if refused.name == "requests_per_second" else 60.0 if limits.window is None else limits.window
        message = f"rate limit reached on {refused.name.removesuffix('_per_second')} per {span_s:g}s"
        body = f'{{"error": {{"message": "{message}", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}}}'
        headers, retry_after_s = NO_HEADERS, None
        if limits.retry_after is not False and refused.wait_s < math.inf:
            wait_ms = in_ms(refused.wait_s)
            retry_after_s = wait_ms / 1000
            headers = {"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))}
        return Answer(
            kind=RateLimited, message=message, status=429, headers=headers, body=body, retry_after_s=retry_after_s
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, code, message = _GENERIC[kind]
        if kind == "context_too_long":
            message = f"maximum context length is {context_tokens} tokens, the prompt has {input_tokens}"
        body = rendered({"error": {"message": message, "code": code}})
        return Answer(
            kind=KINDS[kind],
            message=message,
            status=200 if kind == "in_stream" else status,
            body=body,
            event="" if kind == "in_stream" else None,
            stands_for=status if kind == "in_stream" else None,
        )


_GENERIC: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "server_error", "internal error"),
    "overloaded": (503, "server_is_overloaded", "overloaded"),
    "slow_down": (429, "slow_down", "traffic grows too fast"),
    "quota": (429, "insufficient_quota", "quota exhausted"),
    "auth": (401, "invalid_api_key", "invalid API key"),
    "context_too_long": (400, "context_length_exceeded", ""),
    "content_filter": (400, "content_filter", "refused by the content filter"),
    "in_stream": (503, "server_is_overloaded", "overloaded"),
}
