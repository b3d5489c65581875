"""The words for errors: what ``on:`` lists catch, what a status stands for, what an outcome is called in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmsim.errors import (
    AllUpstreamsFailed,
    AuthError,
    BadOutput,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ConnectionFailed,
    ContentFiltered,
    ContextTooLong,
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerError,
    StreamBroken,
    StreamStalled,
    TimedOut,
    TotalTimeout,
    TtftTimeout,
)

__all__ = ["ERROR_WORDS", "error_kind", "error_matcher", "outcome_word"]

#: What each word of an ``on:`` list catches. ``timeout`` includes the builtin TimeoutError (asyncio's own);
#: ``server_error`` includes Overloaded. Besides these, a status (``429``) and ``5xx`` / ``4xx`` are words.
ERROR_WORDS: dict[str, tuple[type[BaseException], ...]] = {
    "rate_limited": (RateLimited,),
    "quota_exhausted": (QuotaExhausted,),
    "server_error": (ServerError,),
    "overloaded": (Overloaded,),
    "connection_failed": (ConnectionFailed,),
    "timeout": (TimedOut, TimeoutError),
    "ttft_timeout": (TtftTimeout,),
    "stream_stalled": (StreamStalled,),
    "total_timeout": (TotalTimeout,),
    "stream_broken": (StreamBroken,),
    "deadline_exceeded": (DeadlineExceeded,),
    "circuit_open": (CircuitOpen,),
    "rejected": (Rejected,),
    "budget_exceeded": (BudgetExceeded,),
    "bad_request": (BadRequest,),
    "context_too_long": (ContextTooLong,),
    "content_filtered": (ContentFiltered,),
    "auth_error": (AuthError,),
    "bad_output": (BadOutput,),
    "all_upstreams_failed": (AllUpstreamsFailed,),
    "any": (GatewayError, TimeoutError),
}


def error_matcher(words: Iterable[str | int]) -> Callable[[BaseException], bool]:
    """Turn the words of an ``on:`` list into a test.

    Parameters
    ----------
    words
        Keys of `ERROR_WORDS`, HTTP statuses (``429``), or status classes (``"5xx"``).

    Raises
    ------
    ValueError
        For a word that is none of these; the message names the nearest known one.

    Examples
    --------
    >>> retry_this = error_matcher(["rate_limited", 502])
    >>> retry_this(RateLimited()), retry_this(ServerError(status=502)), retry_this(AuthError())
    (True, True, False)
    """
    classes: list[type[BaseException]] = []
    statuses: set[int] = set()
    for word in words:
        text = str(word)
        if text in ERROR_WORDS:
            classes.extend(ERROR_WORDS[text])
        elif text in ("4xx", "5xx"):
            statuses.update(range(int(text[0]) * 100, int(text[0]) * 100 + 100))
        elif text.isdigit() and 400 <= int(text) <= 599:
            statuses.add(int(text))
        else:
            raise ValueError(_unknown_word(text))
    caught = tuple(classes)

    def matches(error: BaseException) -> bool:
        return isinstance(error, caught) or (bool(statuses) and getattr(error, "status", None) in statuses)

    return matches


def _unknown_word(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, ERROR_WORDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "known words: " + ", ".join(ERROR_WORDS)
    return f"unknown error word {word!r}; {hint} (statuses such as 429 and 5xx work too)"


def error_kind(status: int) -> type[GatewayError]:
    """Which error of the tree an HTTP status stands for, when nothing else is known of the answer.

    Examples
    --------
    >>> [error_kind(status).word for status in (429, 402, 529, 502, 404)]
    ['rate_limited', 'quota_exhausted', 'overloaded', 'server_error', 'bad_request']
    """
    if status == 429:
        return RateLimited
    if status == 402:  # "insufficient credits": OpenRouter, DeepSeek
        return QuotaExhausted
    if status in (401, 403):
        return AuthError
    if status in (503, 529):
        return Overloaded
    # A 408 is the server's own timeout: the request may well succeed the next time.
    return ServerError if status >= 500 or status == 408 else BadRequest


def outcome_word(error: BaseException | None) -> str:
    """The one word under which an outcome stands in tables.

    ``ok`` for None, the word of a `GatewayError`, ``timeout`` for a bare TimeoutError, else ``internal_error``.
    """
    if error is None:
        return "ok"
    if isinstance(error, GatewayError):
        return error.word
    return "timeout" if isinstance(error, TimeoutError) else "internal_error"
