"""What was found out about a log of prompts, to read."""

from __future__ import annotations

import math

from llmsim.calibrate.prompt_fit import PromptFit, interval
from llmsim.calibrate.similarity import Similarity
from llmsim.calibrate.similarity_check import Check

__all__ = ["fit_text"]

_WRONG = "    wrong hits a stream: real  fitted  factor"
_SHOWN = (0.05, 0.50, 0.95)


def fit_text(fit: PromptFit) -> str:
    """A page of plain text."""
    parts = [_about(fit), _tables(fit.similarity, fit.check)]
    if fit.check is not None:
        parts.append(_replays(fit.check, labelled=fit.similarity.labelled))
    return "\n\n".join(parts) + "\n"


def _about(fit: PromptFit) -> str:
    log, similarity = fit.log, fit.similarity
    asked = int(log.count.sum())
    lines = [f"{log.name}: {asked:,} prompts, {len(log.texts):,} different" + (
        f", {len(log.labels):,} intents" if log.labels else ""
    )]  # fmt: skip
    left = len(log.texts) - len(fit.used)
    if left:
        lines.append(f"{left:,} have no intent and were left out.")
    if log.contradictions:
        lines.append(f"{log.contradictions:,} stand there with two intents; the first counts.")
    if fit.popularity is None:
        lines.append("None is asked twice: nothing is known of popularity, the check asks by Zipf's law with s = 1.")
    else:
        lines.append(
            f"popularity: Zipf s = {fit.popularity.s:.2f}, {100 * fit.popularity.unique_share:.1f}% are new when asked"
        )
    if similarity.labelled:
        spread = similarity.spread
        shares = ", ".join(f"{100 * share:.2f}% above {level:.2f}" for level, share in fit.twins.items())
        lines.append(f"near duplicates in another intent: {shares}")
        lines.append(
            f"in common within an intent: {100 * spread.same:.0f}% of the variance to the same, "
            f"{100 * spread.other:.0f}% to others; correlation of the two {similarity.correlation:.2f}"
        )
    else:
        lines.append(
            "There are no intents (column intent, label or category; or --label COLUMN): which answers would be\n"
            "wrong, and how near prompts are that mean the same, cannot be known. What follows is about hits alone."
        )
    return "\n".join(lines)


def _tables(similarity: Similarity, check: Check | None) -> str:
    lines = [f"cosine to the nearest of n    {'n':>6} {'p5':>6} {'p50':>6} {'p95':>6}   KS on those not fitted"]
    other = "another intent" if similarity.labelled else "any"
    for name, key, table in (("the same intent", "same", similarity.same), (other, "other", similarity.other)):
        for n in table:
            values = similarity.quantiles(key, n, _SHOWN)
            distance = check.ks.get((key, n), math.nan) if check is not None else math.nan
            shown = f"{distance:.3f}" if math.isfinite(distance) else ""
            lines.append(f"  {name:<26}  {n:>6} " + " ".join(f"{value:6.3f}" for value in values) + f"   {shown}")
    return "\n".join(line.rstrip() for line in lines)


def _replays(check: Check, *, labelled: bool) -> str:
    rows = check.rows
    requests = rows[0].requests
    halves = "intents" if labelled else "prompts"
    lines = [
        f"{check.streams} streams of {requests:,} through a cache (LRU),",
        f"fitted on one half of the {halves}, compared on the other:",
        f"threshold   hit rate real  fitted   difference, 95% (points){_WRONG if labelled else ''}",
    ]
    for row in rows:
        gap, low, high = row.difference("hits")
        line = (
            f"     {row.threshold:.2f}           {row.rate('hits'):.3f}   {row.rate('hits', of_fit=True):.3f}"
            f"   {100 * gap:+5.1f}  ({interval(low, high)})"
        )
        if labelled:
            factor = f"{row.factor:.2f}" if math.isfinite(row.factor) else "(too few)"
            wrong = (row.rate("wrong", of_fit=one) * requests for one in (False, True))
            line = f"{line:<68}" + "".join(f"{value:>12.0f}" for value in wrong) + f"  {factor}"
        lines.append(line)
    if labelled:
        lines.append("Below 100 wrong hits a stream a factor would tell more about the streams than about the fit.")
    return "\n".join(lines)
