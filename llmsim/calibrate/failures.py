"""What failed calls say in a provider's words: its limits, the shares that fail by chance, how long a refusal takes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.queueing import waited
from llmsim.calibrate.refusals import FEWEST_REFUSED, Limit, critical_rates, limits_of, refused
from llmsim.calibrate.spread import Word, spread
from llmsim.luck import Luck
from llmsim.report.figures import count, share
from llmsim.report.rates import Share, share_of

__all__ = ["answer_time_word", "errors_word", "limit_words", "queue_word"]

#: What a provider calls it: outcomes that come whatever the caller does.
_CHANCE = {
    "server_error": "server_error",
    "overloaded": "overloaded",
    "rate_limited": "slow_down",  # where no limit explains them
    "stream_broken": "in_stream",
    "content_filtered": "content_filter",
}
_REFUSED = ("rate_limited", "server_error", "overloaded", "content_filtered")
#: Explanations whose shares (of two kinds of calls, added) differ by less are as good as each other (chosen).
_AS_GOOD = 0.02
#: A length of the queue has to be right about so many of the refused calls, and of those let in (chosen, as of limits).
_FULL = 0.95
#: Calls in a row that are taken together: failures come in clusters, and a cluster is one piece of news (chosen: enough
#: blocks for a spread between them, and calls in each for a share).
_BLOCKS, _IN_BLOCK = 20, 10


def limit_words(calls: Calls) -> tuple[Word | None, str]:
    """The limit that the refused calls keep to; why there is none."""
    out = refused(calls)
    if not out.any():
        return None, f"no call was refused: {_busiest(calls)}"
    found = limits_of(calls)
    told = _told_of_429(calls)
    if not found:
        if out.sum() < FEWEST_REFUSED:
            reason = f"{FEWEST_REFUSED} refused calls would be needed to see what they keep to"
        else:
            reason = "no limit of requests or tokens per 60, 10 or 1 s explains which calls"
        return None, f"{told}; {reason}: they stand below errors as slow_down"
    best, others = found[0], _as_good(found)
    together = (best, *best.beside)
    value: dict[str, Any] = dict(_word(one, best.window_s) for one in together)
    if best.window_s != 60.0:
        value["window"] = best.window_s
    if np.isposinf(calls.retry_after_s[out]).all():
        value["retry_after"] = False
    right = " and ".join(share(one) for one in best.explained)
    lies = " and ".join(f"between {_per_min(one.low)} and {_per_min(one.high)} {_name(one)}" for one in together)
    what = "they lie" if best.beside else "it lies"
    note = f"{told}; {what} {lies}, right about {right} of the calls refused and let in near them"
    if others:
        note += f"; as good an explanation: {', '.join(others)}. A probe with other lengths tells them apart"
    return Word(value, "fitted", int(out.sum()), note), ""


def _word(limit: Limit, window_s: float) -> tuple[str, float]:
    """A limit as `Limits` writes it beside others of this window."""
    if limit.window_s == window_s:
        return limit.what, limit.per_s
    return "requests_per_second", max(1, round(limit.per_s))  # whoever sets such a limit says a whole number


def _as_good(found: list[Limit]) -> list[str]:
    """Other explanations that are right about as often as the first."""
    most = found[0].exact - _AS_GOOD
    others = {_what(one): one for one in reversed(found) if _what(one) != _what(found[0]) and one.exact >= most}
    told = [
        [f"{_per_min(each.per_s)} {_name(each)}" for each in (one, *one.beside)] for one in reversed(others.values())
    ]
    return [" with ".join(parts) for parts in told]


def _what(limit: Limit) -> tuple[str, ...]:
    return tuple(_word(one, limit.window_s)[0] for one in (limit, *limit.beside))


def _name(limit: Limit) -> str:
    name = limit.what.replace("_", " ")
    return f"{name} a minute" + ("" if limit.window_s == 60.0 else f" (in a window of {limit.window_s:g} s)")


def _per_min(per_s: float) -> str:
    return count(float(f"{60 * per_s:.4g}"))


def _busiest(calls: Calls) -> str:
    """What a limit would have to be at least."""
    none = np.zeros(len(calls.sent_s), dtype=np.bool_)
    tokens = (calls.input_tokens + calls.output_tokens).astype(np.float64)
    most = [float(critical_rates(calls.sent_s, each, none, 60.0).max()) for each in (np.ones(len(none)), tokens)]
    return f"if there is a limit, it is {_per_min(most[0])} requests or {_per_min(most[1])} tokens a minute or more"


def _told_of_429(calls: Calls) -> str:
    out = refused(calls)
    after_s = calls.retry_after_s[out]
    said = after_s[np.isfinite(after_s)]
    told = f"{int(out.sum())} of {len(out)} calls were refused with 429"
    if len(said):
        told += (
            f", {len(said)} of them with a Retry-After ({np.median(said):.3g} s, median; at most {said.max():.3g} s)"
        )
    elif np.isposinf(after_s).all():
        told += ", none of them with a Retry-After"
    return told


def queue_word(calls: Calls, workers: int) -> tuple[Word | None, str]:
    """The room before so many workers, as calls tell that were refused for want of it; why it is not known."""
    ok = calls.ok
    wait_s = np.full(len(ok), math.nan)
    wait_s[ok] = waited(calls.only(ok), workers)
    # Ascending: a queue is left in the order in which it was joined.
    begins_s = np.maximum.accumulate((calls.sent_s + wait_s)[ok])
    came: NDArray[np.int64] = np.cumsum(ok) - ok
    waiting = came - np.searchsorted(begins_s, calls.sent_s, side="right")
    waiting = np.maximum(waiting, 0)
    out = np.array([word == "overloaded" for word in calls.outcome], dtype=np.bool_)
    most = int(waiting[ok].max(initial=0))
    if out.sum() < FEWEST_REFUSED:
        return None, f"no queue was full: up to {most + 1} calls waited at once" if most else ""
    # Of each that got in, its own place counts; of a refused one, those before it.
    limits = np.unique(waiting[out])
    right = [min(float(np.mean(waiting[out] >= one)), float(np.mean(waiting[ok] < one))) for one in limits]
    best = int(np.argmax(right))
    if right[best] < _FULL or not limits[best]:
        return None, f"no length of a queue explains which calls were refused: {share(max(right))} of them at best"
    note = (
        f"{int(out.sum())} calls were refused with so many before them; it is right about {share(right[best])} of "
        "those refused and of those let in"
    )
    return Word({"limit": int(limits[best])}, "fitted", int(out.sum()), note), ""


def errors_word(calls: Calls, *, limited: bool, full: bool = False) -> tuple[Word | None, str]:
    """Shares of calls that failed by chance; why there is none.

    Parameters
    ----------
    limited
        A limit explains the calls refused with 429, which are no chance then.
    full
        A queue that was full explains those refused as overloaded.
    """
    asked = calls.only(np.array([word != "cancelled" for word in calls.outcome], dtype=np.bool_))
    counts = Counter(word for word in sorted(asked.outcome) if word != "ok")
    n = len(asked.outcome)
    if limited:
        counts.pop("rate_limited", None)
    if full:
        counts.pop("overloaded", None)
    other = ", ".join(f"{many} {word}" for word, many in counts.items() if word not in _CHANCE)
    other = f"not among them, as providers have no word for it: {other}" if other else ""
    found = {word: counts[word] for word in counts if word in _CHANCE}
    if not found:
        most = share_of([0], [n]).least_claim
        told = f"none of {n} calls failed by chance, which does not rule out {share(most)} of all"
        return None, f"{told}; {other}".rstrip("; ")
    shares = {word: _share(asked, word) for word in found}
    told = "; ".join(
        f"{_CHANCE[word]}: {one.counted} of {one.of} (95 %: {share(one.low)} to {share(one.high)})"
        f"{_statuses(asked, word)}"
        for word, one in shares.items()
    )
    value = {_CHANCE[word]: one.value for word, one in shares.items()}
    return Word(value, "measured", n, f"{told}; {other}".rstrip("; ")), ""


def _share(asked: Calls, word: str) -> Share:
    """A share of calls, with an interval that knows that failures come in clusters."""
    if word == "stream_broken":  # what is refused has no stream that could break
        asked = asked.only(~refused(asked))
    failed = np.array([one == word for one in asked.outcome], dtype=np.int64)
    blocks = max(1, min(_BLOCKS, len(failed) // _IN_BLOCK))
    parts = np.array_split(failed, blocks)
    return share_of([int(part.sum()) for part in parts], [len(part) for part in parts])


def _statuses(calls: Calls, word: str) -> str:
    which = np.array([one == word for one in calls.outcome], dtype=np.bool_)
    counts = Counter(int(status) for status in calls.status[which] if status >= 400)
    if not counts:
        return ""
    return f", status {', '.join(f'{status} ({many})' for status, many in sorted(counts.items()))}"


def answer_time_word(calls: Calls, network_s: float, luck: Luck) -> tuple[Word | None, str]:
    """How long an answer without tokens takes; why that is not known."""
    which = np.array([word in _REFUSED for word in calls.outcome], dtype=np.bool_) & ~np.isfinite(calls.ttft_s)
    took_s = calls.e2e_s[which]
    took_s = took_s[np.isfinite(took_s)]
    if len(took_s) < FEWEST_REFUSED:
        return None, ""
    least_s = math.ulp(1.0) * 1e6
    word = spread(np.maximum(took_s - network_s, least_s), luck)
    return word._replace(note=f"from sending to a 429, 5xx or refusal of the content, without network; {word.note}"), ""
