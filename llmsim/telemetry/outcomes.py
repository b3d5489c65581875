"""Outcome words in classes: what windows count, plots colour and advice speaks of."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

__all__ = [
    "ANSWERED_ELSEWHERE",
    "CLASSES",
    "CLASS_OF_WORD",
    "HIT",
    "SEMANTIC_HIT",
    "UNMATCHED_HIT",
    "UNTOLD_HIT",
    "OutcomeClass",
    "class_of",
]


#: Answered, and by an upstream other than the first choice.
ANSWERED_ELSEWHERE: pl.Expr = (
    (pl.col("outcome") == "ok")
    & (pl.col("served_from") == "upstream")
    & (pl.col("served_by") != pl.col("first_choice"))
)


#: Answered from a cache, and by which of the two classes.
HIT: pl.Expr = (pl.col("outcome") == "ok") & (pl.col("served_from") == "cache")
SEMANTIC_HIT: pl.Expr = HIT & (pl.col("cache_match") == "semantic")

#: … of which nothing tells how it was found: somebody's own cache.
UNMATCHED_HIT: pl.Expr = HIT & (pl.col("cache_match") == "")
#: … of which nothing tells whether it was right: that, and other words in a log of prompts without intents.
UNTOLD_HIT: pl.Expr = UNMATCHED_HIT | (HIT & pl.col("false_hit").is_null())


class OutcomeClass(NamedTuple):
    """A handful of outcomes that mean the same to the people affected."""

    name: str  #: column in ``result.windows``
    label: str  #: in plots and tables
    words: tuple[str, ...]  #: outcome words of ``result.requests``


#: In the order in which they are stacked and listed: answered first, then who refused, then who gave up.
CLASSES: tuple[OutcomeClass, ...] = (
    OutcomeClass("cache_hits", "from the cache", ()),
    OutcomeClass("semantic_hits", "from the cache, by meaning", ()),
    OutcomeClass("answered", "answered", ("ok",)),
    OutcomeClass("rate_limited", "rate limited", ("rate_limited", "quota_exhausted")),
    OutcomeClass("server_errors", "server error", ("server_error", "overloaded", "connection_failed", "stream_broken")),
    OutcomeClass(
        "timeouts",
        "timed out",
        ("timeout", "ttft_timeout", "stream_stalled", "total_timeout", "deadline_exceeded"),
    ),
    OutcomeClass("all_failed", "every upstream failed", ("all_upstreams_failed",)),
    OutcomeClass("shed", "turned away", ("rejected", "circuit_open", "budget_exceeded")),
    OutcomeClass("unusable", "unusable answer", ("bad_output",)),
    OutcomeClass("abandoned", "user left", ("abandoned",)),
    OutcomeClass("other_failures", "other", ()),
)

#: Every word that is not here, ``unfinished`` and words of users' own errors included, is in ``other_failures``.
CLASS_OF_WORD: dict[str, str] = {word: one.name for one in CLASSES for word in one.words}


def class_of(word: str, served_from: str = "upstream", match: str = "") -> str:
    """Name of the class of an outcome.

    Examples
    --------
    >>> class_of("ok"), class_of("ok", "cache"), class_of("ttft_timeout"), class_of("my_own_error")
    ('answered', 'cache_hits', 'timeouts', 'other_failures')
    """
    if word == "ok" and served_from == "cache":
        return "semantic_hits" if match == "semantic" else "cache_hits"
    return CLASS_OF_WORD.get(word, "other_failures")
