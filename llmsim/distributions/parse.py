"""Distributions as scenario files write them, in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from llmsim.distributions.composed import Contention, Empirical, Mixture, Part
from llmsim.distributions.plain import Constant, Distribution, Exponential, Gamma, Geometric, Lognormal, Uniform
from llmsim.distributions.shifted import LogLogistic, ShiftedLognormal, Weibull
from llmsim.units import COUNT, RATIO, BadValue, Unit

__all__ = ["COMPOSED", "PERCENTILE", "PLAIN", "families", "family_of", "optional", "parse_distribution", "values_of"]

#: Families whose parameters are numbers, by their word.
PLAIN: dict[str, type[Any]] = {
    "constant": Constant,
    "uniform": Uniform,
    "exponential": Exponential,
    "lognormal": Lognormal,
    "gamma": Gamma,
    "shifted_lognormal": ShiftedLognormal,
    "log_logistic": LogLogistic,
    "weibull": Weibull,
    "geometric": Geometric,
}
#: Families that hold a table or other distributions.
COMPOSED: dict[str, type[Any]] = {"empirical": Empirical, "contention": Contention, "mixture": Mixture}

PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")
_MIXTURE = "mixture: [{weight: 80%, constant: 1}, {weight: 20%, constant: 3}]"


def family_of(distribution: Distribution) -> str | None:
    """The word for its family in a scenario file; None for a distribution of the user's own."""
    return next((word for word, cls in (PLAIN | COMPOSED).items() if type(distribution) is cls), None)


def values_of(distribution: Distribution) -> Any:
    """What `parse_distribution` reads back, in SI numbers; a distribution of the user's own stays what it is.

    Examples
    --------
    >>> values_of(Contention(Constant(0.3), probability=0.15, extra=1.2))
    {'contention': {'base': 0.3, 'probability': 0.15, 'extra': 1.2}}
    """
    if isinstance(distribution, Constant):
        return distribution.value
    family = family_of(distribution)
    if isinstance(distribution, Mixture):
        written = [(part.weight, values_of(part.of)) for part in distribution.parts]
        return {family: [{"weight": w, **(of if isinstance(of, dict) else {"constant": of})} for w, of in written]}
    if isinstance(distribution, Contention):
        return {family: {**asdict(distribution), "base": values_of(distribution.base)}}
    if isinstance(distribution, Empirical):
        return {family: {"p" + repr(percent).removesuffix(".0"): value for percent, value in distribution.points}}
    return {family: asdict(distribution)} if family else distribution  # type: ignore[call-overload]


def optional(cls: type[Any]) -> frozenset[str]:
    """Parameters that need not be given."""
    return frozenset(field.name for field in fields(cls) if field.default is not MISSING)


def families(unit: Unit) -> dict[str, type[Any]]:
    """The families of `PLAIN` that make sense for this quantity: a duration is not one of 1, 2, 3."""
    return {word: cls for word, cls in PLAIN.items() if cls is not Geometric or unit.read is COUNT.read}


def parse_distribution(value: Any, unit: Unit, *, si: bool = False, inside: tuple[str, ...] = ()) -> Distribution:
    """A distribution as a scenario file writes it: ``8000``, ``300ms`` or ``{lognormal: {p50: 300ms, p99: 2s}}``.

    Parameters
    ----------
    value
        One of these, or a `Distribution`.
    unit
        What its values are.
    si
        Whether bare numbers are taken in SI units (values that come from Python rather than a file).
    inside
        The families around it, outermost first: a mixture holds plain ones, contention anything but itself.

    Raises
    ------
    BadValue
        For an unknown family or parameter, with the near match or the parameters it takes.
    """
    if isinstance(value, Distribution):
        return value
    if not isinstance(value, dict):
        return Constant(unit.parse(value, si=si))
    known = _allowed(inside, unit)
    if len(value) != 1:
        got = ", ".join(map(str, value)) or "none"
        raise BadValue(f"a distribution has one family, not {got}; write one of {', '.join(known)}")
    family, parameters = next(iter(value.items()))
    family = str(family)
    if family not in known:
        _unknown(family, known, inside)
    read = _READERS.get(family, _plain)
    try:
        return read(family, parameters, _How(unit, si, inside))
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue(str(error), family) from None


class _How(NamedTuple):
    """What the values of a distribution are, and what it stands in."""

    unit: Unit
    si: bool
    inside: tuple[str, ...]

    def inner(self, value: Any, family: str) -> Distribution:
        """The distribution inside of one of this family."""
        return parse_distribution(value, self.unit, si=self.si, inside=(*self.inside, family))


def _allowed(inside: tuple[str, ...], unit: Unit) -> list[str]:
    plain = families(unit)
    if "mixture" in inside:
        return [*plain, "empirical"]
    return [word for word in plain | COMPOSED if word not in inside]


def _unknown(family: str, known: list[str], inside: tuple[str, ...]) -> NoReturn:
    if family == "geometric":
        raise BadValue(f"geometric is for what is counted; use one of {', '.join(known)}", family)
    if family in COMPOSED:
        raise BadValue(f"{family} cannot stand inside of {inside[-1]}; use one of {', '.join(known)}", family)
    near = get_close_matches(family, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise BadValue(f"unknown distribution {family!r}; {hint}", family)


def _plain(family: str, parameters: Any, how: _How) -> Distribution:
    cls = PLAIN[family]
    names = [field.name for field in fields(cls)]
    if not isinstance(parameters, dict) and len(names) == 1:
        parameters = {names[0]: parameters}
    needed = set(names) - optional(cls)
    if not isinstance(parameters, dict) or not needed <= set(parameters) <= set(names):
        values = (_PLAIN_NUMBERS.get(name, e) for name, e in zip(names, _rising(how.unit), strict=False))
        example = ", ".join(f"{name}: {v}" for name, v in zip(names, values, strict=True) if name in needed)
        also = f" and may take {', '.join(sorted(optional(cls)))}" if optional(cls) else ""
        takes = ", ".join(name for name in names if name in needed)
        raise BadValue(f"{family} takes {takes}{also}; write it like {{{family}: {{{example}}}}}", family)
    parsed = {}
    for name, raw in parameters.items():
        try:
            parsed[name] = _number(name, raw) if name in cls.dimensionless else how.unit.parse(raw, si=how.si)
        except ValueError as error:
            raise BadValue(str(error), family, name) from None
    distribution: Distribution = cls(**{name: float(number) for name, number in parsed.items()})
    return distribution


#: Examples of parameters without a unit.
_PLAIN_NUMBERS = {"cv": "0.5", "shape": "5"}


def _rising(unit: Unit) -> tuple[str, ...]:
    """As many examples as any family has parameters."""
    return (*unit.examples, *unit.examples[-1:] * 3)


def _number(name: str, raw: Any) -> float:
    # Above 1e300 an integer need not fit a float at all.
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) < 1e300:
        raise ValueError(f"{name} is a plain number without a unit, not {raw!r}; write it like 0.5")
    return float(raw)


def _below(error: ValueError, *at: str | int) -> BadValue:
    """The same problem, one level further out."""
    return BadValue(str(error), *at, *getattr(error, "at", ()))


def _mixture(family: str, parameters: Any, how: _How) -> Distribution:
    if not isinstance(parameters, list | tuple) or not parameters:
        raise BadValue(f"a mixture is a list of distributions with weights; write it like {_MIXTURE}", family)
    parts = []
    for index, item in enumerate(parameters):
        if not isinstance(item, dict) or "weight" not in item or len(item) != 2:
            raise BadValue(f"each part of a mixture is a weight and a family; write it like {_MIXTURE}", family, index)
        try:
            weight = RATIO.parse(item["weight"], si=how.si)
        except ValueError as error:
            raise _below(error, family, index, "weight") from None
        try:
            rest = {word: of for word, of in item.items() if word != "weight"}
            parts.append(Part(weight, how.inner(rest, family)))
        except ValueError as error:
            raise _below(error, family, index) from None
    return Mixture(tuple(parts))


def _contention(family: str, parameters: Any, how: _How) -> Distribution:
    names = ("base", "probability", "extra")
    if not isinstance(parameters, dict) or set(parameters) != set(names):
        one = how.unit.examples[0]
        example = f"{{contention: {{base: {one}, probability: 15%, extra: {one}}}}}"
        raise BadValue(f"contention takes {', '.join(names)}; write it like {example}", family)
    try:
        base = how.inner(parameters["base"], family)
    except ValueError as error:
        raise _below(error, family, "base") from None
    numbers = {}
    for name, kind in (("probability", RATIO), ("extra", how.unit)):
        try:
            numbers[name] = float(kind.parse(parameters[name], si=how.si))
        except ValueError as error:
            raise BadValue(str(error), family, name) from None
    return Contention(base, **numbers)


def _empirical(family: str, parameters: Any, how: _How) -> Distribution:
    example = "{p0: …, p50: …, p100: …} or {values: [… , …]}"
    if not isinstance(parameters, dict) or not parameters:
        raise BadValue(f"empirical takes quantiles or values; write it like {example}", family)
    read: list[tuple[float, float]] = []
    if "values" in parameters and len(parameters) == 1:
        values = parameters["values"]
        if not isinstance(values, list | tuple) or not values:
            raise BadValue("values is a list of what was measured; write at least one", family, "values")
        for index, raw in enumerate(values):
            try:
                read.append((0.0, float(how.unit.parse(raw, si=how.si))))
            except ValueError as error:
                raise BadValue(str(error), family, "values", index) from None
        return Empirical.of(value for _, value in read)
    for name, raw in parameters.items():
        found = PERCENTILE.fullmatch(str(name))
        if found is None:
            raise BadValue(f"{name!r} is no quantile; write it like {example}", family, str(name))
        try:
            read.append((float(found[1]), float(how.unit.parse(raw, si=how.si))))
        except ValueError as error:
            raise BadValue(str(error), family, str(name)) from None
    return Empirical(tuple(read))


_READERS: dict[str, Callable[[str, Any, _How], Distribution]] = {
    "mixture": _mixture,
    "contention": _contention,
    "empirical": _empirical,
}
