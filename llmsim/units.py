"""The only parser of units: ``250ms``, ``40/s``, ``2%``, ``10x``, ``4M``, ``$3/Mtok``, ``2kB`` become plain SI floats.

In a scenario file the value carries the unit and the key never does; in Python a float carries it in its
name (``timeout_s``). A `Unit` stands in ``Annotated[float, DURATION]``, where pydantic finds it and asks it
for validation and JSON Schema; nothing here imports pydantic before that happens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

__all__ = [
    "BYTES",
    "BYTE_PRICE",
    "COUNT",
    "DURATION",
    "EVENT_PRICE",
    "GROWTH",
    "MONTH_S",
    "MULTIPLIER",
    "PRICE",
    "RATE",
    "RATIO",
    "STORAGE_PRICE",
    "USD",
    "BadValue",
    "BytePrice",
    "Bytes",
    "Count",
    "Duration",
    "EventPrice",
    "Growth",
    "Multiplier",
    "PositiveCount",
    "PositiveDuration",
    "PositiveMoney",
    "PositiveRate",
    "Price",
    "Rate",
    "Ratio",
    "StoragePrice",
    "Unit",
    "counted",
    "format_duration",
]

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PER = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "day": 86400.0}
#: A month of a price list: 365 days of 24 hours in twelve parts, the 730 hours that cloud price lists count with
#: (AWS Pricing Calculator: "730 hours in a month").
MONTH_S = 730 * 3600.0

# kB to TB are powers of 1,000, KiB to TiB powers of 1,024: a bill that counts in the latter is written so.
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BYTES |= {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_DURATION_PART = re.compile(_NUMBER + r"\s*(us|ms|min|s|m|h|d)")
_RATE_TEXT = re.compile(_NUMBER + r"\s*([kKMGB]?)\s*/\s*(s|min|m|h|day|d)")
_COUNT_TEXT = re.compile(_NUMBER + r"\s*([kKMGB]?)")
_PRICE_TEXT = re.compile(r"\$\s*" + _NUMBER + r"\s*/\s*([kKMG]?)tok(?:ens?)?")
_BYTES_TEXT = re.compile(_NUMBER + r"\s*([kKMGT]?i?B)")
_BYTE_PRICE_TEXT = re.compile(r"\$\s*" + _NUMBER + r"\s*/\s*([kKMGT]?i?B)(-month)?")
_EVENT_PRICE_TEXT = re.compile(r"\$\s*" + _NUMBER + r"\s*/\s*([kKMGB]?)")
_USD_TEXT = re.compile(r"\$\s*" + _NUMBER)
_GROWTH_TEXT = re.compile(r"([+-]?)" + _NUMBER + r"\s*%\s*/\s*(day|d|week|month)")
_DAYS = {"d": 1.0, "day": 1.0, "week": 7.0, "month": MONTH_S / 86400.0}


def _duration(text: str) -> float | None:
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part.group(0) for part in parts) != text:
        return None
    return sum(float(part.group(1)) * _SECONDS[part.group(2)] for part in parts)


def _rate(text: str) -> float | None:
    found = _RATE_TEXT.fullmatch(text)
    return float(found[1]) * _SCALE[found[2]] / _PER[found[3]] if found else None


def _ratio(text: str) -> float | None:
    found = re.fullmatch(_NUMBER + r"\s*%", text)
    return float(found[1]) / 100 if found else None


def _multiplier(text: str) -> float | None:
    found = re.fullmatch(_NUMBER + r"\s*x", text)
    return float(found[1]) if found else None


def _count(text: str) -> float | None:
    found = _COUNT_TEXT.fullmatch(text)
    return float(found[1]) * _SCALE[found[2]] if found else None


def _price(text: str) -> float | None:
    found = _PRICE_TEXT.fullmatch(text)
    return float(found[1]) / _SCALE[found[2]] if found else None


def _bytes(text: str) -> float | None:
    found = _BYTES_TEXT.fullmatch(text)
    return float(found[1]) * _BYTES[found[2]] if found and found[2] in _BYTES else None


def _byte_price(text: str) -> float | None:
    found = _BYTE_PRICE_TEXT.fullmatch(text)
    return float(found[1]) / _BYTES[found[2]] if found and found[2] in _BYTES and not found[3] else None


def _storage_price(text: str) -> float | None:
    found = _BYTE_PRICE_TEXT.fullmatch(text)
    return float(found[1]) / _BYTES[found[2]] / MONTH_S if found and found[2] in _BYTES and found[3] else None


def _event_price(text: str) -> float | None:
    found = _EVENT_PRICE_TEXT.fullmatch(text)
    return float(found[1]) / _SCALE[found[2]] if found and found[2] else None


def _usd(text: str) -> float | None:
    found = _USD_TEXT.fullmatch(text)
    return float(found[1]) if found else None


def _growth(text: str) -> float | None:
    found = _GROWTH_TEXT.fullmatch(text)
    if found is None:
        return None
    share = float(found[1] + found[2]) / 100
    return math.expm1(math.log1p(share) / _DAYS[found[3]]) if share > -1 else share


class BadValue(ValueError):
    """A value is wrong. ``what is wrong; what to write instead``.

    Parameters
    ----------
    message
        Both, with a semicolon between.
    at
        Keys and indices from the value that was checked down to the part that is wrong.
    """

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True)
class Unit:
    """One kind of quantity: how it is written, and the float it becomes.

    Parameters
    ----------
    name
        What an error message calls it ("a duration").
    examples
        Correct spellings, shown in error messages and in the JSON Schema.
    read
        Parser of the text form; None when the text is no such quantity.
    bare
        Whether a bare number is understood. Where it would be ambiguous (30: seconds or minutes?) it is not.
    low, high
        Inclusive bounds of the value in SI; `above` makes the lower bound exclusive.
    whole
        The value is an integer.
    pattern
        Regular expression of the text form, for editors.
    in_python
        What it is in Python, where there are no texts with units.
    """

    name: str
    examples: tuple[str, ...]
    read: Callable[[str], float | None]
    bare: bool = False
    low: float = 0.0
    high: float = float("inf")
    above: bool = False
    whole: bool = False
    pattern: str = ""
    in_python: str = "a number"

    def parse(self, value: Any, *, si: bool = False) -> float:
        """The float (int where `whole`) that `value` stands for.

        Parameters
        ----------
        value
            As a scenario file writes it.
        si
            Whether a bare number is taken as it is, in SI units (values that come from Python rather than a file).

        Raises
        ------
        ValueError
            With what to type instead.

        Examples
        --------
        >>> DURATION.parse("1m30s"), RATE.parse("5000/min"), RATIO.parse("2%"), DURATION.parse(90.0, si=True)
        (90.0, 83.33333333333333, 0.02, 90.0)
        """
        number: float | None = None
        if isinstance(value, str):
            number = self.read(value.strip().replace("_", "").replace(",", ""))
            if number is None and self.bare:
                number = _plain(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and (self.bare or si or value == 0):
            number = _plain(value)
        if number is None:
            raise ValueError(f"{_short(value)} is not {self.name}; write it like {' or '.join(self.examples)}")
        if not math.isfinite(number):
            raise ValueError(f"{_short(value)} is out of range; {self.name} must be finite")
        if not (number > self.low if self.above else number >= self.low) or number > self.high:
            share = self.high == 1.0 and 1 < number <= 100 and "%" not in str(value)
            percent = f" (did you mean {number:g}%?)" if share else ""
            raise ValueError(f"{_short(value)} is out of range; {self.name} must be {self._bounds()}{percent}")
        if self.whole:
            if number != int(number):
                raise ValueError(f"{_short(value)} is not {self.name}; it must be a whole number")
            return int(number)
        return number

    def _bounds(self) -> str:
        lower = f"{'above' if self.above else 'at least'} {self.low:g}"
        return lower if self.high == math.inf else f"{lower} and at most {self.high:g}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any, info: Any) -> float:
            return self.parse(value, si=bool(info.context and info.context.get("si")))

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        zero = not self.bare and self.low == 0 and not self.above  # a bare 0 needs no unit
        number = ["integer" if self.whole else "number"] if self.bare or zero else []
        found: dict[str, Any] = {"type": ["string", *number] if number else "string", "description": self.name}
        if self.pattern:
            found["pattern"] = self.pattern
        if number:
            found["exclusiveMinimum" if self.above else "minimum"] = self.low
            if zero or self.high < math.inf:
                found["maximum"] = 0 if zero else self.high
        return {**found, "examples": [*self.examples]}


def _plain(value: str | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# For editors, through the JSON Schema: a little laxer than the parsers, which also take 1_000 and 1,000.
_SHAPE = r"\d[\d_,]*(\.\d+)?(e[+-]?\d+)?\s*"
_PER_TIME = r"[kKMGB]?\s*/\s*(s|min|m|h|day|d)$"

DURATION = Unit(
    "a duration", ("250ms", "30s", "2m"), _duration, pattern=f"^({_SHAPE}(us|ms|min|s|m|h|d)\\s*)+$",
    in_python="a number of seconds",
)  # fmt: skip
RATE = Unit("a rate", ("40/s", "5000/min"), _rate, pattern=f"^{_SHAPE}{_PER_TIME}", in_python="a number per second")
RATIO = Unit(
    "a ratio", ("2%", "0.02"), _ratio, bare=True, high=1.0, pattern=f"^{_SHAPE}%?$", in_python="a number from 0 to 1"
)
MULTIPLIER = Unit("a multiplier", ("10x", "0.25x"), _multiplier, bare=True, pattern=f"^{_SHAPE}x?$")
COUNT = Unit(
    "a count", ("50000", "4M", "400k"), _count, bare=True, whole=True, pattern=f"^{_SHAPE}[kKMGB]?$",
    in_python="a whole number",
)  # fmt: skip
PRICE = Unit(
    "a price per token", ("$3/Mtok", "$0.15/Mtok"), _price, pattern=rf"^\$\s*{_SHAPE}/\s*[kKMG]?tok(ens?)?$",
    in_python="a number, USD per token",
)  # fmt: skip
BYTES = Unit(
    "a size in bytes", ("2kB", "512B", "1.5MB"), _bytes, pattern=f"^{_SHAPE}[kKMGT]?i?B$",
    in_python="a number of bytes",
)  # fmt: skip
BYTE_PRICE = Unit(
    "a price per byte", ("$0.50/GB",), _byte_price, pattern=rf"^\$\s*{_SHAPE}/\s*[kKMGT]?i?B$",
    in_python="a number, USD per byte",
)  # fmt: skip
STORAGE_PRICE = Unit(
    "a price of storage", ("$0.33/GB-month",), _storage_price, pattern=rf"^\$\s*{_SHAPE}/\s*[kKMGT]?i?B-month$",
    in_python="a number, USD per byte and second",
)  # fmt: skip
EVENT_PRICE = Unit(
    "a price per number of operations", ("$16/M", "$0.40/k"), _event_price, pattern=rf"^\$\s*{_SHAPE}/\s*[kKMGB]$",
    in_python="a number, USD per operation",
)  # fmt: skip
USD = Unit("an amount of money", ("$0.02", "$15"), _usd, pattern=rf"^\$\s*{_SHAPE}$", in_python="a number of USD")
GROWTH = Unit(
    "a growth", ("2%/day", "-1%/day", "10%/week"), _growth, low=-0.9, high=10.0,
    pattern=r"^[+-]?\d+(\.\d+)?\s*%\s*/\s*(day|d|week|month)$", in_python="a number, the share per day",
)  # fmt: skip

Duration = Annotated[float, DURATION]
PositiveDuration = Annotated[float, replace(DURATION, above=True)]
Rate = Annotated[float, RATE]
PositiveRate = Annotated[float, replace(RATE, above=True)]
Ratio = Annotated[float, RATIO]
Multiplier = Annotated[float, MULTIPLIER]
Count = Annotated[int, COUNT]
PositiveCount = Annotated[int, replace(COUNT, low=1, examples=("3", "50000", "4M"))]
Price = Annotated[float, PRICE]
Bytes = Annotated[float, BYTES]
BytePrice = Annotated[float, BYTE_PRICE]  #: USD per byte
StoragePrice = Annotated[float, STORAGE_PRICE]  #: USD per byte and second
PositiveMoney = Annotated[float, replace(USD, above=True)]  #: USD
EventPrice = Annotated[float, EVENT_PRICE]  #: USD per operation
#: Compounding, as a share per day: the one float whose time is not the second, since a growth of 2.3e-7 tells nobody
#: anything. After *t* days what grows is ``(1 + growth) ** t`` times what it was.
Growth = Annotated[float, GROWTH]


def counted(number: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "request"), counted(2500, "request"), counted(0, "reply")
    ('1 request', '2,500 requests', '0 replies')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def format_duration(seconds: float) -> str:
    """Seconds as a person writes them.

    Examples
    --------
    >>> [format_duration(s) for s in (0, 0.0305, 1.25, 90, 7200, float("inf"))]
    ['0s', '30.5ms', '1.25s', '1m30s', '2h', 'never']
    """
    if math.isnan(seconds):
        return "-"
    if seconds in (float("inf"), float("-inf")):
        return "never" if seconds > 0 else "-never"
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1e3:.3g}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n)
