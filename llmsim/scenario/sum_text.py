"""How a number of a run is written: ``ttft{route:chat} p(95)``, ``cost_per_ok + 0.02*false_hit_rate``.

Metrics are those of SLO lines without comparison and bound, with the same aggregates, tags and parts of a run
(`llmsim.scenario.objectives` reads them). Between them stand ``+``, ``-``, ``*``, parentheses and plain numbers::

    sum     = product (("+" | "-") product)*
    product = factor ("*" factor)*
    factor  = ["+" | "-"] (number | metric | "(" sum ")")
    metric  = key [aggregate] [("before" | "during" | "after") fault] ["window" length]

What one of them is worth in the unit of another is for who asks to say: metrics of different units are not added up
without a weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

from llmsim.scenario.objective_parts import ObjectiveError
from llmsim.scenario.objectives import METRICS as WORDS
from llmsim.scenario.objectives import Objective, parse_objective
from llmsim.scenario.sums import Sum, Term, metric_name, metric_unit, sign_of

__all__ = ["parse_sum", "word_of"]

_DEEPEST, _MOST_TERMS = 20, 200  # beyond lies no question that anybody asks
_COLUMN = ("_per_s", "_usd", "_s")  # a column carries its unit, the word of an SLO does not
_FORM = "Write it like cost_per_ok + 0.02*false_hit_rate."
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.%$])")
_KEY = re.compile(r"([A-Za-z_]\w*)\s*(\{[^{}]*\})?")
_AGGREGATE = re.compile(r"\s*(?!(?:before|during|after|window)\b)([A-Za-z]\w*)\s*(\([^()]*\))?")
_WHEN = re.compile(r"\s*\b(before|during|after)\b[ \t]*")
_FAULT = re.compile(r"[^\s()*+]+")
_WINDOW = re.compile(r"\s*\bwindow\b\s*([^\s()*+-]*)")


def parse_sum(
    text: str,
    *,
    tag_values: Mapping[str, Iterable[str]] | None = None,
    fault_names: Iterable[str] | None = None,
) -> Sum:
    """What is asked for.

    Parameters
    ----------
    text
        A metric, or several.
    tag_values, fault_names
        As `llmsim.scenario.objectives.parse_objective` takes them.

    Raises
    ------
    ObjectiveError
        With where it is wrong, and what to type instead.

    Examples
    --------
    >>> wanted = parse_sum("cost_per_ok_usd+0.02 * false_hit_rate")
    >>> wanted.name, wanted.unit, wanted.value([0.001, 0.05])
    ('cost_per_ok + 0.02*false_hit_rate', 'usd', 0.002)
    >>> parse_sum("cost_per_ok + ttft p(95)")
    Traceback (most recent call last):
    llmsim.scenario.objective_parts.ObjectiveError: cost_per_ok is in dollars and ttft p(95) in seconds, ...
    """
    faults = None if fault_names is None else sorted(fault_names, key=len, reverse=True)
    reader = _Reader(text, dict(tag_values or {}), faults)
    terms = reader.all()
    if not any(term.metrics and term.weight for term in terms):
        raise ObjectiveError(f"{text.strip()!r} names no metric that counts", _FORM)
    return Sum(reader.name, tuple(terms), _unit(terms))


def word_of(column: str) -> str:
    """The word of an SLO for what may be the name of a column: ``cost_per_ok`` for ``cost_per_ok_usd``."""
    short = (column.removesuffix(unit) for unit in ("", *_COLUMN))
    return next((word for word in short if word in WORDS), column)


def _unit(terms: list[Term]) -> str:
    """That of what stands without a weight."""
    found: dict[str, Objective] = {}
    for term in terms:
        if term.bare:
            found.setdefault(metric_unit(term.metrics[0]), term.metrics[0])
    if len(found) < 2:
        return next(iter(found), "")
    (unit, one), (odd, other) = ((unit, metric_name(metric)) for unit, metric in list(found.items())[:2])
    raise ObjectiveError(
        f"{one} is {_UNITS[unit]} and {other} {_UNITS[odd]}, so they cannot be added up as they are",
        f"Say what {other} is worth in the unit of {one}: {one} + 0.5*{other}.",
    )


_UNITS = {
    "s": "in seconds", "usd": "in dollars", "ratio": "a share", "factor": "a factor", "count": "a count",
    "per_s": "per second",
}  # fmt: skip


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str, tag_values: dict[str, Iterable[str]], faults: list[str] | None) -> None:
        self._text, self._tags, self._faults = text, tag_values, faults
        self._at = self._depth = 0
        self._said: list[str] = []

    @property
    def name(self) -> str:
        """The same in the form that everybody's has."""
        return "".join(self._said)

    def all(self) -> list[Term]:
        """The terms of the whole text."""
        found = self._sum()
        if self._next():
            raise self._odd(self._between())
        return found

    # -- the grammar, from the outside in ----------------------------------------------------------------------

    def _sum(self) -> list[Term]:
        found = self._product()
        while (sign := self._next()) in ("+", "-"):
            self._take(f" {sign} ")
            found = self._few(found + _signed(sign, self._product()))
        return found

    def _product(self) -> list[Term]:
        found = self._factor()
        while self._next() == "*":
            self._take("*")
            found = self._few(_times(found, self._factor()))
        return found

    def _factor(self) -> list[Term]:
        start = self._next()
        if start in ("+", "-"):
            self._take("-" if start == "-" else "")
            return _signed(start, self._deeper(self._factor))
        if start == "(":
            self._take("(")
            found = self._deeper(self._sum)
            if self._next() != ")":
                raise self._odd(self._between() if self._next() else "a ( is not closed")
            self._take(")")
            return found
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            return [self._weight(number)]
        if start.isalpha() or start == "_":
            return [self._metric()]
        what = f"there is {start!r}" if start else "the text ends"
        raise self._odd(f"{what} where a metric or a number belongs", weight=start.isdigit() or start in ("$", "."))

    def _weight(self, number: re.Match[str]) -> Term:
        value = float(number[0])
        if not math.isfinite(value):
            raise ObjectiveError(f"{number[0]} in {self._text!r} is out of range", _FORM)
        self._at = number.end()
        self._said.append(repr(value).removesuffix(".0"))
        return Term(value, (), bare=False)

    def _metric(self) -> Term:
        found = _KEY.match(self._text, self._at)
        assert found is not None  # it begins with a letter
        word, tags = found[1], re.sub(r"\s+", "", found[2] or "")
        known = word_of(word)
        self._at = found.end()
        aggregate = self._aggregate(known)
        if aggregate.startswith("burn"):
            raise ObjectiveError("a burn rate is judged by a bound, and is no number to ask for", "Write an SLO.")
        part = self._part()
        bound = f"{sign_of(known)} {WORDS[known].unit.examples[0] if known in WORDS else 1}"
        try:
            metric = parse_objective(
                known + tags, f"{aggregate or 'value'} {bound}{part}", tag_values=self._tags, fault_names=self._faults
            )
        except ObjectiveError as error:
            message, hint = (told.replace(f" {bound}", "") for told in (error.message, error.hint))
            raise ObjectiveError(message, hint, in_key=error.in_key) from None
        self._said.append(metric_name(metric))
        return Term(1.0, (metric,), bare=True)

    def _aggregate(self, known: str) -> str:
        found = _AGGREGATE.match(self._text, self._at)
        if found is not None and word_of(found[1]) not in WORDS:
            self._at = found.end()
            return re.sub(r"\s+", "", found[0])
        if known in WORDS and "value" not in WORDS[known].aggregates:
            raise ObjectiveError(
                f"{known} is a distribution; say which number of it: {known} p(95), {known} mean",
                f"Write {known} p(95).",
            )
        return ""

    def _part(self) -> str:
        """Of the run, as `llmsim.scenario.objective_parts` reads it."""
        found = ""
        when = _WHEN.match(self._text, self._at)
        if when is not None:
            self._at = when.end()
            found = f" {when[1]}{self._fault()}"
        window = _WINDOW.match(self._text, self._at)
        if window is not None:
            self._at = window.end()
            found += f" window {window[1]}".rstrip()
        return found

    def _fault(self) -> str:
        """A name that the scenario has, whatever is in it; else a word."""
        rest = self._text[self._at :]
        for name in self._faults or ():
            if rest.startswith(name) and not _FAULT.match(rest, len(name)):
                self._at += len(name)
                return f" {name}"
        word = _FAULT.match(rest)
        if word is None or word[0] == "-":
            return ""
        self._at += word.end()
        return f" {word[0]}"

    # -- what they need ----------------------------------------------------------------------------------------

    def _next(self) -> str:
        """The next character that is no space; empty: the end."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, said: str) -> None:
        self._at += 1
        self._said.append(said)

    def _deeper(self, read: Callable[[], list[Term]]) -> list[Term]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ObjectiveError(f"{self._text[:40]!r}… has parentheses or signs {_DEEPEST} deep", _FORM)
        found = read()
        self._depth -= 1
        return found

    def _few(self, terms: list[Term]) -> list[Term]:
        if len(terms) > _MOST_TERMS:
            raise ObjectiveError(f"{self._text[:40]!r}… has more than {_MOST_TERMS} terms", _FORM)
        if not all(math.isfinite(term.weight) for term in terms):
            raise ObjectiveError(f"a weight in {self._text!r} is out of range", _FORM)
        return terms

    def _between(self) -> str:
        """What is wrong with what stands where an operator belongs."""
        rest = self._text[self._at :].lstrip()
        if rest[:1] in ("<", ">", "="):
            return "there is a bound, and a bound belongs to an SLO, or to what it is subject to"
        if rest[:1] == ")":
            return "there is a ) that closes nothing"
        if rest[:1] == "/":
            return "there is a /, and a sum knows +, - and *: instead of /1000 write 0.001*"
        return f"there is no +, - or * before {rest.split()[0]!r}"

    def _odd(self, what: str, *, weight: bool = False) -> ObjectiveError:
        before = self._text[: self._at].strip()
        where = f"after {before!r} " if before else ""
        hint = "A weight is a plain number in the unit of the sum: 0.02*false_hit_rate." if weight else _FORM
        return ObjectiveError(where + what, hint)


def _signed(sign: str, terms: list[Term]) -> list[Term]:
    return [term._replace(weight=-term.weight) for term in terms] if sign == "-" else terms


def _times(some: list[Term], others: list[Term]) -> list[Term]:
    return [
        Term(one.weight * other.weight, one.metrics + other.metrics, bare=False) for one in some for other in others
    ]
