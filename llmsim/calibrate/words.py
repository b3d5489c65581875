"""What a fit says in a provider's words: each with how it was found, and what to know before believing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.failures import answer_time_word, errors_word, limit_words, queue_word
from llmsim.calibrate.fit import table_of
from llmsim.calibrate.models import FEWEST, Line, Loaded, Prediction, Queued, Served, own_calls
from llmsim.calibrate.network import Network, without_network
from llmsim.calibrate.queueing import waited
from llmsim.calibrate.spread import Word, spread
from llmsim.distributions import values_of
from llmsim.luck import Luck
from llmsim.report.figures import figure, share
from llmsim.units import counted

__all__ = ["seen", "words_of"]

Floats = NDArray[np.float64]

#: So many calls may lie below what the prompt alone explains before that is no noise around a base time any more.
_BELOW = 0.02
#: A price explains what calls cost if none of them is off by more than this share (rounding of reported costs).
_PRICE_OFF = 0.01


def words_of(calls: Calls, found: Prediction, network: Network, luck: Luck) -> tuple[dict[str, Word], dict[str, str]]:
    """The words of a provider, and for those that are missing, why.

    Parameters
    ----------
    calls
        All that were made.
    found
        The model that was chosen, fitted to the answered ones without the network.
    network
        What of them is the way there and back.
    luck
        Of the choice of families.
    """
    timed = without_network(calls, network)
    timed = timed.only(timed.ok & ~timed.whole)
    words: dict[str, Word] = {}
    if calls.model:
        words["model"] = Word(calls.model, "measured", len(calls.sent_s), "the name that was asked for")
    words |= _engine(found, timed) if isinstance(found, Served) else _timing(found, timed, luck)
    limit = limit_words(calls)
    room = queue_word(calls, found.workers.number) if isinstance(found, Queued) else (None, "")
    others = {
        "network": (network.word, network.why),
        "queue": room,
        "rate_limit": limit,
        "errors": errors_word(calls, limited=limit[0] is not None, full=room[0] is not None),
        "answer_time": answer_time_word(calls, network.median_s, luck),
        "price": _price(calls),
    }
    missing = {}
    for key, (word, why) in others.items():
        if word is not None:
            words[key] = word
        if why:
            missing[key] = why
    return words, missing


def _engine(found: Served, timed: Calls) -> dict[str, Word]:
    spec, n = found.spec, int(timed.alone.sum())
    value = {
        "slots": spec.slots,
        "prefill_step": spec.prefill_step,
        "prefill_token": spec.prefill_token,
        "decode_step": spec.decode_step,
        "decode_sequence": spec.decode_sequence,
        "decode_context": spec.decode_context,
        "batch_tokens": spec.batch_tokens,
    }
    note = "steps from calls that had the server for themselves, slots and batching from the others or as told"
    return {"serving": Word({key: one for key, one in value.items() if one}, "fitted", n, note)}


def _timing(found: Prediction, timed: Calls, luck: Luck) -> dict[str, Word]:
    line = found if isinstance(found, Line) else getattr(found, "line", None)
    assert isinstance(line, Line)
    slower, paced = np.ones(len(timed.sent_s)), np.ones(len(timed.sent_s))
    words: dict[str, Word] = {}
    if isinstance(found, Loaded):
        slower, paced = (np.interp(timed.busy, found.busy, factors) for factors in (found.ttft, found.gap))
        words |= _load(found, timed)
    if isinstance(found, Queued):
        wait_s = waited(timed, found.workers.number)
        words |= _workers(found, wait_s)
        timed = own_calls(timed, timed.ok, wait_s)
        slower, paced = np.ones(len(timed.sent_s)), np.ones(len(timed.sent_s))
    fresh = (timed.input_tokens - timed.cached_tokens).astype(np.float64)
    base_s = timed.ttft_s / slower - line.token_s * fresh
    if line.token_s and (np.mean(base_s <= 0) > _BELOW or not line.base_s):
        # The spread is that of reading the prompt: it grows with the length.
        rest_s = np.maximum(timed.ttft_s / slower - line.base_s, 1e-6)
        reading = rest_s / np.maximum(line.token_s * fresh, 1e-6)
        words["ttft"] = Word(line.base_s, "fitted", len(base_s), "what is left of TTFT for a prompt of no tokens")
        pace = spread(reading, luck)
        slope = {"per_1k": 1000 * line.token_s, "pace": pace.value}
        words["prefill"] = Word(slope, "fitted", len(base_s), f"median of slopes (Theil-Sen); pace: {pace.note}")
    else:
        words["ttft"] = spread(np.maximum(base_s, 1e-6), luck)
        if line.token_s:
            slope = {"per_1k": 1000 * line.token_s}
            words["prefill"] = Word(slope, "fitted", len(base_s), "median of slopes (Theil-Sen)")
    told = np.isfinite(timed.gap_s)
    note = "median over answers of the mean gap in an answer"
    words["inter_token"] = Word(line.gap_s, "measured", int(told.sum()), note)
    if line.gap_s and told.sum() >= FEWEST:
        pace = spread(timed.gap_s[told] / line.gap_s / paced[told], luck)
        words["pace"] = pace._replace(note=f"mean gap of an answer over the median; {pace.note}")
    return words


def _workers(found: Queued, wait_s: Floats) -> dict[str, Word]:
    """How many calls are served at once."""
    count, low, high = found.workers
    late = wait_s[wait_s > 0]
    told = f"{len(late)} of {len(wait_s)} calls waited for another to end"
    if len(late):
        told += f", {figure(float(np.median(late)), 's')} (median; at most {figure(float(late.max()), 's')})"
    if low == high == count:
        told += f"; every resampling of the calls gives {count}"
    else:
        told += f"; 95 %: {low} to {high}"
    return {"concurrency": Word(count, "fitted", len(wait_s), told)}


def _load(found: Loaded, timed: Calls) -> dict[str, Word]:
    """The factors by calls under way, as shares of ten times the most that were seen: none of those ever waits."""
    most = int(timed.busy.max())
    slots = 10 * most
    points = [
        {"at": busy / slots, "ttft": ttft, "inter_token": gap}
        for busy, ttft, gap in zip(found.busy, found.ttft, found.gap, strict=True)
    ]
    note = f"what more than {counted(most, 'call')} at once would do was not seen: it stays as slow as with that many"
    return {
        "concurrency": Word(slots, "derived", len(timed.sent_s), f"ten times the {most} that were under way at most"),
        "load": Word({"of": "slots", "points": points}, "fitted", len(timed.sent_s), note),
    }


def _price(calls: Calls) -> tuple[Word | None, str]:
    """Per token, from what calls cost; why it is not known."""
    from scipy.optimize import nnls

    told = calls.only(calls.ok & np.isfinite(calls.cost_usd))
    if not len(told.sent_s):
        return None, "nobody said what the calls cost"
    if not told.cost_usd.any():
        return None, "they cost nothing"
    parts = {"input": told.input_tokens - told.cached_tokens, "output": told.output_tokens}
    if told.cached_tokens.any():
        parts["cached_input"] = told.cached_tokens
    tokens = np.column_stack([*parts.values()]).astype(np.float64)
    if np.linalg.matrix_rank(tokens) < len(parts):
        return None, "prompts and answers were always as long as each other, so their prices cannot be told apart"
    weight = 1 / np.maximum(told.cost_usd, 1e-12)
    found, _ = nnls(tokens * weight[:, None], told.cost_usd * weight)
    off = float(np.max(np.abs(tokens @ found * weight - 1)))
    if not math.isfinite(off) or off > _PRICE_OFF:
        return None, f"no price per token explains what the calls cost: the best is up to {share(off)} off"
    note = f"explains what each call cost to {share(max(off, 1e-4))}"
    return Word(dict(zip(parts, found.tolist(), strict=True)), "derived", len(told.sent_s), note), ""


def seen(calls: Calls) -> Mapping[str, Any]:
    """Lengths of the answered prompts and answers, as ``traffic.mix`` may write them: in tokens."""
    answered = calls.only(calls.ok)
    lengths = {"input_tokens": answered.input_tokens, "output_tokens": answered.output_tokens}
    found = {}
    for name, tokens in lengths.items():
        values = np.maximum(tokens, 1).astype(np.float64)
        found[name] = int(values[0]) if np.ptp(values) == 0 else values_of(table_of(values))
    return found
