"""What may stand behind the bound of an SLO line: of which part of the run it is, and whether of every window in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from llmsim.telemetry.parts import Burn, Phase, When
from llmsim.units import DURATION, RATIO

__all__ = ["ALL_FAULTS", "ObjectiveError", "Part", "parse_burn", "parse_part"]

#: What stands for every fault of a scenario.
ALL_FAULTS = ("fault", "faults")

#: Metrics that are about a run as a whole, whatever part of it one looks at.
_WHOLE_RUN = ("recovery_time", "max_in_flight")

_SHORTEST_S = 1e-3  #: ten requests in less are 10,000 a second

_TAIL = re.compile(
    r"(?P<bound>.*?)"
    r"(?:\s+(?P<when>before|during|after)(?:\s+(?P<fault>.*?))?)?"
    r"(?:\s+window(?:\s+(?P<window>\S+))?)?"
    r"(?P<abort>\s+abort_on_fail)?\s*"
)


class ObjectiveError(ValueError):
    """An SLO line is wrong.

    Parameters
    ----------
    message
        What is wrong.
    hint
        What to type instead.
    in_key
        Whether the key is wrong rather than the expression.
    """

    def __init__(self, message: str, hint: str, *, in_key: bool = False) -> None:
        super().__init__(f"{message}. {hint}")
        self.message = message
        self.hint = hint
        self.in_key = in_key


class Part(NamedTuple):
    """A bound, and what it is about."""

    bound: str
    phase: Phase | None
    window_s: float | None
    abort_on_fail: bool


def parse_part(metric: str, text: str, rest: str, fault_names: Iterable[str] | None = None) -> Part:
    """Take apart what stands behind the comparison.

    Parameters
    ----------
    metric
        What is bounded.
    text
        The whole expression, for messages.
    rest
        What stands behind the comparison.
    fault_names
        Of the scenario; None: a name can be anything.

    Raises
    ------
    ObjectiveError
        With the right form.

    Examples
    --------
    >>> parse_part("ttft", "", "2s during brown-out window 10s")
    Part(bound='2s', phase=Phase(when='during', fault='brown-out'), window_s=10.0, abort_on_fail=False)
    >>> parse_part("error_rate", "", "1% after fault abort_on_fail")
    Part(bound='1%', phase=Phase(when='after', fault=''), window_s=None, abort_on_fail=True)
    """
    found = _TAIL.fullmatch(rest)
    assert found is not None  # every part of it can be empty
    when: When | None = found["when"]  # type: ignore[assignment]
    fault, window = found["fault"], found["window"]
    windowed = re.search(r"\swindow(\s|$)", rest) is not None
    if metric in _WHOLE_RUN and (when or windowed):
        raise ObjectiveError(
            f"{metric} is about the run as a whole, and {text!r} asks for a part of it",
            f"Write it without {when or 'window'}.",
        )
    phase = _phase(text, when, fault, fault_names) if when else None
    return Part(found["bound"], phase, _window_s(text, window) if windowed else None, found["abort"] is not None)


def _phase(text: str, when: When, fault: str | None, names: Iterable[str] | None) -> Phase:
    if not fault:
        raise ObjectiveError(
            f"{text!r} does not say {when} what", f"Write {when} fault, or the name of one: {when} brown-out."
        )
    known = None if names is None else list(names)
    if fault in ALL_FAULTS:
        if known == []:
            raise ObjectiveError(f"{text!r} is about faults, and the scenario has none", f"Remove {when} {fault}.")
        return Phase(when)
    if known is not None and fault not in known:
        near = get_close_matches(fault, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known faults: {', '.join(known) or 'none'}."
        raise ObjectiveError(f"there is no fault {fault!r}", hint)
    return Phase(when, fault)


def _window_s(text: str, window: str | None) -> float:
    try:
        length_s = float(DURATION.parse(window or ""))
    except ValueError:
        length_s = 0.0
    if not length_s > 0:
        raise ObjectiveError(f"the window of {text!r} needs a length above 0", "Write it like window 10s.")
    if length_s < _SHORTEST_S:
        hint = "Write it like window 10s; one counts where at least 10 requests arrived in it."
        raise ObjectiveError(f"the window of {text!r} is shorter than anything happens in", hint)
    return length_s


_BURN_UNITS = (RATIO, DURATION, DURATION)
_BURN = "Write it like burn(99.9%, 5m, 30s): what is promised, the long window, the short one."


def parse_burn(argument: str | None, *, window: bool) -> Burn:
    """What stands in the parentheses of ``burn(99.9%, 5m, 30s)``.

    Raises
    ------
    ObjectiveError
        With the right form.

    Examples
    --------
    >>> parse_burn("99%, 5m, 30s", window=False)
    Burn(promised=0.99, long_s=300.0, short_s=30.0)
    """
    pieces = [piece.strip() for piece in (argument or "").split(",")]
    if len(pieces) != 3:
        raise ObjectiveError("burn needs a promise and two windows", _BURN)
    try:
        promised, long_s, short_s = (float(unit.parse(text)) for unit, text in zip(_BURN_UNITS, pieces, strict=True))
    except ValueError as error:
        raise ObjectiveError(f"burn({argument}): {str(error).partition('; ')[0]}", _BURN) from None
    if not 0 < promised < 1:
        raise ObjectiveError(f"burn({argument}) promises {pieces[0]}; nothing can burn", _BURN)
    if not 0 < short_s < long_s:
        raise ObjectiveError(f"burn({argument}) needs a long window and then a shorter one", _BURN)
    if window:
        raise ObjectiveError("burn has windows of its own", "Remove window.")
    return Burn(promised, long_s, short_s)
