"""A fit, as text for a terminal and as tables for a notebook."""

from __future__ import annotations

import textwrap

from llmsim.calibrate.profile_text import flow, rounded, written
from llmsim.calibrate.upstream import Candidate, Fitted
from llmsim.report.grid import Grid
from llmsim.report.reality.told import signed, size
from llmsim.units import counted

__all__ = ["fit_grids", "fit_text"]

_WIDTH = 110
_TOLD = ("concurrency", "queue", "rate_limit", "errors")  #: words whose notes say how sure they are


def fit_text(fitted: Fitted) -> str:
    """Which model was chosen and how good it is, the provider's words with their intervals, and what to know."""
    lines = [
        _head(fitted),
        "",
        "  held-out calls      TTFT off  bias      to the end  bias      KS (chance)",
        *(_candidate(one, chosen=one.name == fitted.chosen) for one in fitted.candidates),
        "",
    ]
    for key, word in fitted.words.items():
        lines.append(f"  {key}: {_short(flow(written(key, word.value)))}")
        lines += [
            f"      {name.partition('.')[2] or name}: 95 % from {rounded(low, 's')} to {rounded(high, 's')}"
            for name, (low, high) in fitted.intervals.items()
            if name.partition(".")[0] == key
        ]
        if key in _TOLD:
            lines += textwrap.wrap(word.note, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines += [f"  no {key}: {why}" for key, why in fitted.missing.items()]
    lines += [f"  Note: {note}" for note in fitted.notes]
    return "\n".join(lines)


def _head(fitted: Fitted) -> str:
    calls = fitted.calls
    answered = int(calls.ok.sum())
    made = counted(len(calls.sent_s), "call")
    head = f"{fitted.upstream} ({fitted.model or 'model unknown'}): {made}, {answered} answered"
    return f"{head}, {int(calls.alone.sum())} alone, up to {int(calls.busy.max(initial=0))} at once"


def fit_grids(fitted: Fitted) -> list[Grid]:
    """The same as two tables: how far each model was off on calls it had not seen, and the provider's words."""
    head = ("model", "TTFT off", "bias", "to the end off", "bias", "KS", "of which chance")
    models = []
    for one in fitted.candidates:
        name = f"{one.name}{' (chosen)' if one.name == fitted.chosen else ''}"
        if one.held_out is None:
            models.append((name, *["–"] * (len(head) - 1)))
            continue
        ttft, e2e, (ks, _, band) = one.held_out.ttft, one.held_out.e2e, one.held_out.ks
        errors = (size(ttft.mdape), signed(ttft.bias), size(e2e.mdape), signed(e2e.bias))
        models.append((name, *errors, f"{ks:.2f}", f"{band:.2f}"))
    words = []
    for key, word in fitted.words.items():
        words.append((key, _short(flow(written(key, word.value)))))
        if key in _TOLD:
            words.append(("", word.note))
        words += [
            (name, f"95 %: {rounded(low, 's')} to {rounded(high, 's')}")
            for name, (low, high) in fitted.intervals.items()
            if name.partition(".")[0] == key
        ]
    notes = [*(f"No {key}: {why}" for key, why in fitted.missing.items()), *(f"Note: {note}" for note in fitted.notes)]
    return [
        Grid(_head(fitted), head, models, 1, ["Held-out calls: medians of absolute errors, and of errors (bias)."]),
        Grid("In a scenario", ("word", "value"), words, 2, notes),
    ]


def _candidate(one: Candidate, *, chosen: bool) -> str:
    name = f"  {'→' if chosen else ' '} {one.name:<16}"
    if one.held_out is None:
        return f"{name}  -"
    ttft, e2e, (ks, _, band) = one.held_out.ttft, one.held_out.e2e, one.held_out.ks
    return (
        f"{name}  {size(ttft.mdape):<8}  {signed(ttft.bias):<8}  {size(e2e.mdape):<10}  {signed(e2e.bias):<8}  "
        f"{ks:.2f} ({band:.2f})"
    )


def _short(text: str, most: int = 110) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
