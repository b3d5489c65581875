"""What a spec is given in Python: looked at where it is written down, not where it is first compared with a number.

A scenario file's values go through pydantic. A constructor's do not, and a text where a number belongs would come to
light far away ("'>' not supported between 'str' and 'int'"), or never. In Python a quantity is a plain float in SI
units; only a file writes ``5s``. A constructor therefore takes no such text, but says which number it stands for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import types
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from llmsim.units import COUNT, Unit

__all__ = ["checked_values", "number_given", "whole_given"]

T = TypeVar("T", bound=type[Any])


def checked_values(cls: T) -> T:
    """Class decorator of a dataclass: `cls(...)` looks at what it is given, by the annotations of the fields.

    First the types, so that the class's own checks compare numbers with numbers; then these; then the bounds of the
    units, for whatever has no check of its own. What pydantic makes does not come by here.

    Raises
    ------
    TypeError
        From the constructor: a value is no number, no policy, no list, …
    ValueError
        From the constructor: it is one, and out of range.
    """
    made = cls.__init__

    @functools.wraps(made)
    def construct(self: Any, *args: Any, **values: Any) -> None:
        # A subclass may mean something else by a field. Not read before: annotations may name what comes further down.
        known = _hints(cls) if type(self) is cls else {}  # type: ignore[arg-type]  # typeshed: a class is Hashable
        given = {**dict(zip(known, args, strict=False)), **values}
        given = {key: value for key, value in given.items() if key in known}
        for key, value in given.items():
            _check(value, known[key], cls.__name__, key, _wrong_type)
        made(self, *args, **values)
        for key, value in given.items():
            _check(value, known[key], cls.__name__, key, _out_of_range)

    cls.__init__ = construct
    return cls


def number_given(value: object, unit: Unit, who: str, key: str, *, optional: bool = False) -> None:
    """The same for one argument of a function, or of a class that is no dataclass.

    Raises
    ------
    TypeError, ValueError
        `value` is not what `unit` measures.

    Examples
    --------
    >>> from llmsim.units import DURATION
    >>> number_given("5s", DURATION, "OpenAIChat", "connect_timeout_s")
    Traceback (most recent call last):
    TypeError: OpenAIChat(connect_timeout_s='5s'): in Python a duration is a number of seconds; write \
connect_timeout_s=5.0
    """
    if value is None and optional:
        return
    for wrong in (_wrong_type, _out_of_range):
        wrong(value, Annotated[float, unit], who, key)


def whole_given(who: str, **values: object) -> None:
    """Whole numbers, by the names of a function's arguments; None: not given. Their bounds are the function's.

    Raises
    ------
    TypeError
        One is something else.

    Examples
    --------
    >>> whole_given("run", seed=None, replications="20")
    Traceback (most recent call last):
    TypeError: run(replications='20'): in Python a count is a whole number; write replications=20
    """
    for key, value in values.items():
        if value is not None:
            _wrong_number(value, COUNT, f"{who}({key}={_short(value)})", key)


@functools.lru_cache(maxsize=512)  # here, not on each class: one of a script's own goes to workers, code and all
def _hints(cls: type[Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError:  # somebody's own policy, with annotations that only a type checker can resolve
        return {}
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _check(value: Any, hint: Any, who: str, key: str, wrong: Callable[[Any, Any, str, str], None]) -> None:
    """Go down to what is measured, spelled or counted, and look at that."""
    members = _members(hint)
    if value is None and type(None) in members:
        return
    members = [member for member in members if member is not type(None)]
    if len(members) != 1:  # a union of several things: each has its own words for what is wrong
        return
    (member,) = members
    plain = get_args(member)[0] if get_origin(member) is Annotated else member
    origin, inner = get_origin(plain), get_args(plain)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        for name, one in value.items():
            _check(one, inner[1], who, f"{key}[{name!r}]", wrong)
        return
    if origin is tuple and inner[1:] == (...,) and isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _check(one, inner[0], who, f"{key}[{number}]", wrong)
        return
    wrong(value, member, who, key)


def _members(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [one for member in get_args(hint) for one in _members(member)]
    return [hint]


def _unit(hint: Any) -> Unit | None:
    return next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Unit)), None)


def _wrong_type(value: Any, hint: Any, who: str, key: str) -> None:
    unit = _unit(hint)
    said = f"{who}({key}={_short(value)})"
    if unit is not None:
        _wrong_number(value, unit, said, key)
        return
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if plain is bool and not isinstance(value, bool):
        raise TypeError(f"{said}: write {key}=True or {key}=False")
    if plain is str and not isinstance(value, str):
        raise TypeError(f"{said}: this takes a text")
    if plain in (int, float) and (not isinstance(value, Real) or isinstance(value, bool)):
        raise TypeError(f"{said}: this takes a number")
    if get_origin(plain) is tuple and (isinstance(value, str) or not isinstance(value, Iterable)):
        error = ValueError if isinstance(value, str) else TypeError  # a bare word is a value, in a wrong place
        raise error(f"{said}: this takes a list or a tuple; write {key}=({_short(value)},)")
    origin = get_origin(plain)
    if isinstance(origin, type) and issubclass(origin, Mapping) and not isinstance(value, Mapping):
        raise TypeError(f"{said}: this takes a mapping, like {key}={{'chat': …}}")
    if isinstance(plain, type) and dataclasses.is_dataclass(plain) and not isinstance(value, plain):
        like = ", ".join(f"{name}={one!r}" for name, one in value.items()) if isinstance(value, Mapping) else "…"
        raise TypeError(f"{said}: this takes a {plain.__name__}; write {key}={plain.__name__}({like})")


def _wrong_number(value: Any, unit: Unit, said: str, key: str) -> None:
    is_number = isinstance(value, Integral if unit.whole else Real) and not isinstance(value, bool)
    if not is_number or math.isnan(value):
        error = ValueError if is_number else TypeError
        raise error(f"{said}: in Python {unit.name} is {unit.in_python}; write {_instead(value, unit, key)}")
    if 2 <= value <= 100 and unit.high == 1:  # these are shares, and people think in percent
        share = f"{key}={float(value) / 100:g} for {float(value):g}%"
        raise ValueError(f"{said}: in Python {unit.name} is {unit.in_python}; write {share}")


def _instead(value: Any, unit: Unit, key: str) -> str:
    """With the number that a text of a scenario file stands for, that is in a text, or that a 3.0 is; or an example."""
    if isinstance(value, str | float):
        with contextlib.suppress(ValueError):
            return f"{key}={unit.parse(value)!r}"
        with contextlib.suppress(ValueError):
            return f"{key}={unit.parse(float(value), si=True)!r}"
    return f"it like {key}={unit.parse(unit.examples[0])!r}"


def _out_of_range(value: Any, hint: Any, who: str, key: str) -> None:
    unit = _unit(hint)
    said = f"{who}({key}={_short(value)})"
    if unit is not None:
        try:
            unit.parse(value if isinstance(value, int | float) else float(value), si=True)
        except ValueError as error:
            raise ValueError(f"{who} {key}: {error}") from None
        return
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(plain) is Literal and value not in get_args(plain):
        words = [word for word in get_args(plain) if isinstance(word, str)]
        near = get_close_matches(value, words, n=1) if isinstance(value, str) else []
        what = f"did you mean {near[0]!r}?" if near else f"write {', '.join(repr(word) for word in words)}"
        raise ValueError(f"{said}: unknown word; {what}")


def _short(value: object) -> str:
    of_fields = dataclasses.is_dataclass(value) and not isinstance(value, type)
    text = f"{type(value).__name__}(…)" if of_fields else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
