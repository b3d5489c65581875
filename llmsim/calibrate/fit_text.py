"""A fit, as text for a terminal."""

from __future__ import annotations

import textwrap

from llmsim.calibrate.profile_text import flow, rounded, written
from llmsim.calibrate.upstream import Candidate, Fitted
from llmsim.report.reality.told import signed, size

__all__ = ["fit_text"]

_WIDTH = 110
_TOLD = ("rate_limit", "errors")  #: words whose notes say how sure they are


def fit_text(fitted: Fitted) -> str:
    """Which model was chosen and how good it is, the provider's words with their intervals, and what to know."""
    calls = fitted.calls
    answered = int(calls.ok.sum())
    head = f"{fitted.upstream} ({fitted.model or 'model unknown'}): {len(calls.sent_s)} calls, {answered} answered"
    lines = [
        f"{head}, {int(calls.alone.sum())} alone, up to {int(calls.busy.max(initial=0))} at once",
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
