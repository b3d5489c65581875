"""How one writes which thresholds to try and how many wrong answers are tolerable."""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import NamedTuple

from llmsim.errors import LlmsimError
from llmsim.report.figures import share
from llmsim.units import DURATION, RATIO

__all__ = ["Tolerance", "known_share", "read_thresholds", "read_tolerance", "read_ttls"]

_WORDS = ("wrong", "wrong_of_hits")


class Tolerance(NamedTuple):
    """A bound on wrong answers."""

    bound: float
    of_hits: bool = False  #: of the hits; else of all requests
    equal: bool = False  #: whether the bound itself is still inside

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{_WORDS[self.of_hits]} {'<=' if self.equal else '<'} {100 * self.bound:.4g}%"

    @property
    def unit(self) -> str:
        """What it is a share of."""
        return "hits" if self.of_hits else "requests"

    def admits(self, value: float) -> bool:
        """Whether a share is inside."""
        return value <= self.bound if self.equal else value < self.bound


def known_share(value: float) -> str:
    """A share, as far as anybody knows it.

    Examples
    --------
    >>> known_share(0.005), known_share(float("nan"))
    ('0.5 %', 'unknown')
    """
    return "unknown" if math.isnan(value) else share(value)


def read_tolerance(text: str) -> Tolerance:
    """A bound on the share of requests (``wrong``) or of hits (``wrong_of_hits``) that get a wrong answer.

    Raises
    ------
    LlmsimError
        For anything else; says what to write.

    Examples
    --------
    >>> read_tolerance("wrong < 0.5%")
    Tolerance(bound=0.005, of_hits=False, equal=False)
    >>> read_tolerance("wrong_of_hits<=1%").text
    'wrong_of_hits <= 1%'
    """
    found = re.fullmatch(r"\s*([A-Za-z_]+)\s*(<=?)\s*(\S+)\s*", text)
    hint = "write wrong < 0.5% (of all requests) or wrong_of_hits < 1%"
    if found is None:
        raise LlmsimError(f"tolerance {text!r} is no bound; {hint}")
    word, sign, bound = found.groups()
    if word not in _WORDS:
        near = get_close_matches(word, _WORDS, n=1, cutoff=0.4)
        raise LlmsimError(f"tolerance {text!r}: there is no {word!r}; {f'did you mean {near[0]}?' if near else hint}")
    try:
        value = RATIO.parse(bound)
    except ValueError as error:
        raise LlmsimError(f"tolerance {text!r}: {error}") from None
    if value == 0:
        raise LlmsimError(f"tolerance {text!r}: no number of samples shows that nothing is ever wrong; {hint}")
    return Tolerance(value, word == "wrong_of_hits", sign == "<=")


def read_thresholds(text: str) -> tuple[float, ...]:
    """Cosines: ``from:to:how many``, or a list.

    Raises
    ------
    LlmsimError
        For anything else; says what to write.

    Examples
    --------
    >>> read_thresholds("0.7:0.9:3"), read_thresholds("0.85, 0.9")
    ((0.7, 0.8, 0.9), (0.85, 0.9))
    """
    hint = "write from:to:how many, e.g. 0.70:0.99:20, or a list, e.g. 0.85,0.9,0.95"
    try:
        if ":" not in text:
            return tuple(float(one) for one in text.split(","))
        low, high, count = text.split(":")
        first, last, many = float(low), float(high), int(count)
    except ValueError:
        raise LlmsimError(f"thresholds {text!r}: {hint}") from None
    if many < 2 or not first < last:
        raise LlmsimError(f"thresholds {text!r}: that is no span of two or more, lowest first; {hint}")
    step = (last - first) / (many - 1)
    return tuple(round(first + step * number, 4) for number in range(many))


def read_ttls(text: str) -> tuple[float, ...]:
    """Times to live in seconds: a list of durations; ``never``: they never end.

    Raises
    ------
    LlmsimError
        For anything else; says what to write.

    Examples
    --------
    >>> read_ttls("5m, 1h,never")
    (300.0, 3600.0, inf)
    """
    try:
        return tuple(math.inf if one.strip() == "never" else DURATION.parse(one) for one in text.split(","))
    except ValueError as error:
        raise LlmsimError(f"times to live {text!r}: {error}; separate them by commas") from None
