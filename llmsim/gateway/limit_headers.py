"""What answers say about rate limits, in the headers of the vendors.

OpenAI, Azure and Groq send ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, Anthropic
``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}``. A reset is the time until
a limit is *full* again, so what is missing divided by it is the refill (of OpenAI's and Groq's buckets, see
`llmsim.providers.dialects.openai`), rounded to the safe side. Where there is none that can be used (Azure sends none
with a success; Anthropic names a moment of the wall clock, which nothing here knows) a limit is one per minute, as both
document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmsim.algorithms.quota import Told

__all__ = ["read_limits"]

_MINUTE_S = 60.0
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
#: (limit's name, header of its size, of what is left, of the time until it is full)
_HEADERS = [
    (name.replace("-", "_"), *(f"anthropic-ratelimit-{name}-{what}" for what in ("limit", "remaining")), "")
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
] + [
    (name, *(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset")))
    for name in ("requests", "tokens")
]


def read_limits(headers: Mapping[str, str]) -> dict[str, Told]:
    """Limits by name (``requests``, ``tokens``, ``input_tokens``, ``output_tokens``), those that the headers tell.

    Parameters
    ----------
    headers
        With lower-case names, as responses and errors carry them.

    Examples
    --------
    >>> headers = {"x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "18000"}
    >>> told = read_limits({**headers, "x-ratelimit-reset-tokens": "24s"})["tokens"]
    >>> told.remaining, round(told.refill_per_s)
    (18000.0, 500)
    """
    found: dict[str, Told] = {}
    if not headers:
        return found
    for name, size, left, until in _HEADERS:
        limit, remaining = _number(headers.get(size)), _number(headers.get(left))
        if limit is None or remaining is None:
            continue
        reset_s = _duration(headers.get(until, "")) if until else 0.0
        refill, missing = limit / _MINUTE_S, limit - remaining
        if reset_s:  # both numbers are cut: up to one less is missing, and up to a millisecond more to go
            least = max(missing - 1.0, 1.0) / (reset_s + 0.001)
            refill = least if missing >= 2.0 else min(refill, least)
        found[name] = Told(limit, remaining, refill)
    return found


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _duration(text: str) -> float:
    """Seconds of ``6m0s``, ``120ms``, ``20``; 0 for anything else."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return 0.0
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
