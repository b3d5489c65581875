"""What a provider's rate limits had left over time: its own meters, charged again with the calls that were recorded."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.providers.dialects import DIALECTS, Account
from llmsim.providers.dialects.account import Accounting
from llmsim.providers.dialects.meters import Meter
from llmsim.providers.ramps import course
from llmsim.report.plots.bins import Floats
from llmsim.traffic.clients import mixes

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Calls", "Levels", "account_of", "amounts_of", "calls_of", "levels_of", "limited"]

_MOST_CALLS = 50_000  #: charged one by one; of more, those of a slice of the time together
_SLICES = 20_000
_LOOK, _SCALE, _BACK, _TAKE, _REFUSED = range(5)  # at one instant in this order


class Calls(NamedTuple):
    """What an account was asked for, one entry a call that reached it; seconds on the scenario's clock."""

    start_s: Floats
    end_s: Floats
    admitted: NDArray[np.bool_]
    throttled: NDArray[np.bool_]  #: answered 429
    taken: Floats  #: input tokens charged when it came
    output: Floats  #: output tokens charged when it came
    used_input: Floats  #: input tokens in the end, as the dialect settles them
    used_output: Floats


class Levels(NamedTuple):
    """Of one account."""

    names: tuple[str, ...]  #: of its limits, as in the scenario
    edges_s: Floats  #: of the bins, one more than those
    least: Floats  #: lowest level in each bin as a share of what the agreed limit holds, shape ``(limits, bins)``
    refused: Floats  #: calls answered 429 in each bin


def limited(result: Result) -> dict[str, tuple[str, ...]]:
    """Accounts that have limits: what they are called, and the providers on them (more than one: a quota group)."""
    found: dict[str, list[str]] = {}
    for name, spec in result.scenario.providers.items():
        if spec.rate_limit is not None:
            found.setdefault(name if spec.quota_group is None else spec.quota_group, []).append(name)
    return {account: tuple(members) for account, members in found.items()}


def calls_of(result: Result, members: Sequence[str], replication: int = 0) -> Calls:
    """The calls of one replication to these providers, in the order in which they were sent.

    A call is charged what its dialect charges: the prompt, and the output it asks for (the ``max_tokens`` of its route)
    or gets. Not in the tables, and so not in here: what a policy put in place of ``max_tokens``, the way to the
    provider, and the tokens that a call which was cut off would have had.
    """
    attempts = result.attempts.lazy().filter(
        (pl.col("replication") == replication) & pl.col("upstream").cast(pl.String).is_in(list(members))
    )
    address = ["session", "step", "user_retry"]
    requests = result.requests.lazy().filter(pl.col("replication") == replication)
    asked = requests.select(*address, "route", asked=pl.col("input_tokens"))
    table = (
        attempts.select(
            *address, "attempt", "start_s", "first_s", "end_s", "outcome", "status", "input_tokens",
            "cached_input_tokens", "output_tokens",
        )
        .filter(pl.col("outcome").cast(pl.String) != "connection_failed")  # nobody was there to count it
        .join(asked, on=address, how="left")
        .with_columns(caps=_caps(result))
        .sort("start_s", *address, "attempt")
        .collect()
    )  # fmt: skip
    # Who was answered with an error, and without a token, was not let in; who gave up waiting had been.
    admitted = table.select((pl.col("status") < 400) | pl.col("first_s").is_not_null()).to_series().to_numpy()
    accounting = account_of(result, members).accounting
    cached = table["cached_input_tokens"].cast(pl.Float64).to_numpy()
    billed, used_output = (table[name].cast(pl.Float64).to_numpy() for name in ("input_tokens", "output_tokens"))
    wanted = table["asked"].fill_null(0).cast(pl.Float64).to_numpy()
    prompt = np.where(billed > 0, billed, wanted)
    if accounting.foresees:
        output = np.maximum(used_output, 1.0)
    elif accounting.reserves_output:
        output = table["caps"].fill_null(accounting.unset_output).cast(pl.Float64).to_numpy()
    else:
        output = np.ones(len(prompt))
    return Calls(
        table["start_s"].to_numpy(),
        table["end_s"].to_numpy(),
        admitted,
        table["status"].to_numpy() == 429,
        prompt - cached if accounting.cache_free else prompt,
        output,
        billed - cached if accounting.settled_cache_free else billed,
        used_output * accounting.output_weight,
    )


def amounts_of(accounting: Accounting, taken: Floats, output: Floats) -> Floats:
    """Requests, tokens, input and output tokens of calls (`Meter.draws`), shape ``(calls, 4)``."""
    total = np.maximum(taken, output) if accounting.larger else taken + output
    amounts: Floats = np.stack([np.ones(len(taken)), total, taken, output], axis=1)
    return amounts


def _caps(result: Result) -> pl.Expr:
    """``max_tokens`` of a request's route; null: it names none."""
    found = {route.route: route.max_tokens for route in mixes(result.scenario.traffic).routes}
    known = {name: most for name, most in found.items() if most is not None}
    if not known:
        return pl.lit(None, dtype=pl.Int64)
    return pl.col("route").cast(pl.String).replace_strict(known, default=None, return_dtype=pl.Int64)


def account_of(result: Result, members: Sequence[str]) -> Account:
    """The account of these providers as it is at the beginning."""
    spec = result.scenario.providers[members[0]]
    assert spec.rate_limit is not None
    return DIALECTS[spec.dialect].account(spec.rate_limit)


def levels_of(result: Result, members: Sequence[str], edges_s: Floats, replication: int = 0) -> Levels:
    """The levels of an account's limits, charged again with every call of one replication.

    Parameters
    ----------
    result
        Any result.
    members
        The providers on that account.
    edges_s
        Of the bins.
    replication
        Which.
    """
    account, calls = account_of(result, members), calls_of(result, members, replication)
    zero_s = result.scenario.clock.warm_up
    bins = len(edges_s) - 1
    counted, _ = np.histogram(calls.start_s[calls.throttled], edges_s)
    steps = _steps(account, calls, edges_s)
    cuts = {name: _cuts_of(result, name) for name in members}
    steps += [(start_s, _SCALE, (0.0,) * 4) for cut in cuts.values() for start_s, _ in cut]
    steps.sort(key=lambda step: (step[0], step[1]))
    agreed = [meter.capacity for meter in account.meters]
    least = np.empty((len(agreed), bins))
    _run(account, steps, least, zero_s, lambda at_s: _rescale(account, cuts, at_s, zero_s))
    return Levels(
        tuple(meter.name for meter in account.meters), edges_s, least / np.array(agreed)[:, None], counted.astype(float)
    )


def _cuts_of(result: Result, name: str) -> list[tuple[float, float]]:
    """From when on faults leave which share of a provider's limits."""
    faults = [fault for fault in result.scenario.faults if fault.provider == name and fault.rate_limit]
    return course(faults, "rate_limit")


def _rescale(account: Account, cuts: Mapping[str, list[tuple[float, float]]], at_s: float, zero_s: float) -> None:
    for name, cut in cuts.items():
        place = bisect_right(cut, at_s, key=itemgetter(0)) - 1
        account.rescale(cut[place][1] if place >= 0 else 1.0, at_s + zero_s, name)


_Step = tuple[float, int, tuple[float, ...]]


def _steps(account: Account, calls: Calls, edges_s: Floats) -> list[_Step]:
    """What happens to the account: calls that come, what is given back at their end, refusals that count, and looks."""
    accounting = account.accounting
    taken, output = calls.taken, calls.output
    amounts = amounts_of(accounting, taken, output)
    inside = calls.admitted
    steps = _grouped(calls.start_s[inside], amounts[inside], _TAKE, edges_s)
    if accounting.settles:
        back_input, back_output = taken - calls.used_input, output - calls.used_output
        backs = np.stack([np.zeros(len(taken)), back_input + back_output, back_input, back_output], axis=1)
        steps += _grouped(calls.end_s[inside], backs[inside], _BACK, edges_s)
    if accounting.counts_failures:
        ones = np.ones((int((~inside).sum()), 4))
        steps += _grouped(calls.start_s[~inside], ones, _REFUSED, edges_s)
    return steps + [(float(edge), _LOOK, (0.0,) * 4) for edge in edges_s]


def _grouped(times_s: Floats, amounts: Floats, kind: int, edges_s: Floats) -> list[_Step]:
    """One step a call; of very many, one for those of each slice of the time."""
    if len(times_s) > _MOST_CALLS:
        width = (edges_s[-1] - edges_s[0]) / _SLICES
        _, places = np.unique(np.floor(times_s / width).astype(np.int64), return_inverse=True)
        counts = np.bincount(places)
        amounts = np.stack([np.bincount(places, weights=column) for column in amounts.T], axis=1)
        times_s = np.bincount(places, weights=times_s) / counts
    return [(at, kind, tuple(row)) for at, row in zip(times_s.tolist(), amounts.tolist(), strict=True)]


def _run(account: Account, steps: Sequence[_Step], least: Floats, zero_s: float, rescale: Any) -> None:
    meters = account.meters
    settled = [number for number, meter in enumerate(meters) if meter.draws and meter.name != "ramp"]
    lowest = [math.inf] * len(meters)
    place = -1
    for at_s, kind, amounts in steps:
        now = at_s + zero_s
        if kind == _TAKE:
            for number, meter in enumerate(meters):
                meter.level = level = meter.refill(now) - amounts[meter.draws]
                lowest[number] = min(lowest[number], level)
        elif kind == _BACK:
            for number in settled:
                _give(meters[number], amounts[meters[number].draws], now)
                lowest[number] = min(lowest[number], meters[number].level)
        elif kind == _REFUSED:
            _use_up(meters, amounts[0], now, lowest)
        elif kind == _SCALE:
            rescale(at_s)
            lowest = [min(low, meter.level) for low, meter in zip(lowest, meters, strict=True)]
        else:
            levels = [meter.refill(now) for meter in meters]
            if 0 <= place < least.shape[1]:
                least[:, place] = [min(pair) for pair in zip(lowest, levels, strict=True)]
            lowest, place = levels, place + 1


def _give(meter: Meter, back: float, now: float) -> None:
    meter.level = min(meter.refill(now) + back, meter.capacity)


def _use_up(meters: Sequence[Meter], amount: float, now: float, lowest: list[float]) -> None:
    """As `Account` does with a call that it does not admit: no debt is left."""
    for number, meter in enumerate(meters):
        if meter.name == "requests":
            level = meter.refill(now)
            meter.level = max(level - amount, min(level, 0.0))
            lowest[number] = min(lowest[number], meter.level)
