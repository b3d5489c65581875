"""What can be turned in a scenario: from paths to sliders, choices and switches, with units as in a scenario file.

Nothing here draws. A slider has a few dozen places, each a text as it would stand in the file:

- durations, rates, multipliers, prices and big counts go from a fifth to five times the present value, in the preferred
  numbers of the E24 series (IEC 60063), so that each step is about 10 %;
- shares go in round steps from 0 to four times the present one, or, above one half, from 100 % down by four times what
  is missing to it;
- small counts go one by one, from 1 to four times the present one, and to 8 at least.

What the schema does not allow is left out, and the present value is always one of the places, spelled as in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from llmsim.distributions import Distribution, values_of
from llmsim.errors import LlmsimError, Problem, ScenarioError
from llmsim.gateway.registry import kind_of, policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import at_path, keys_of, nearest
from llmsim.scenario.overrides import resolve
from llmsim.scenario.presets import with_preset
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values
from llmsim.units import Unit, format_duration

__all__ = ["Control", "Wanted", "controls_of", "default_paths"]

#: A path; or, of some, its range as a pair or its choices as a list.
Wanted = Sequence[str] | Mapping[str, Any]

_E24 = (
    1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2,
    9.1,
)  # fmt: skip
_REACH = 5.0  # a slider goes from a fifth to five times
_STEPS = 40  # places of a slider, about
_SMALL = 40  # counts up to here go one by one
_ROUND = 1e-9


@dataclass(frozen=True)
class Control:
    """One thing that can be turned.

    Parameters
    ----------
    label
        What it is called.
    paths
        What it sets: one path, or several that have the same value.
    kind
        ``slider`` and ``choice`` have `options`; a ``switch`` is True or False.
    value
        In the scenario as it is: one of `options`, or True or False.
    options
        As a scenario file writes them, in order.
    policy
        For a switch that takes a policy out: its scope and its index there.
    """

    label: str
    paths: tuple[str, ...]
    kind: Literal["slider", "choice", "switch"]
    value: str | bool
    options: tuple[str, ...] = ()
    policy: tuple[str, int] | None = None

    @property
    def path(self) -> str:
        """The first of `paths`, by which it is known."""
        return self.paths[0]


def default_paths(scenario: Scenario) -> list[str]:
    """What most people want to turn, as far as the scenario has it; then each of its policies, on or off."""
    traffic = scenario.traffic
    paths = ["traffic.base_rate", *_peak(scenario)[:1]]
    policies = _addresses(scenario)
    for path, spec in policies:
        kind = getattr(spec, "kind", "")
        if kind == "semantic_cache":
            paths.append(f"{path}.threshold")
        elif kind == "retry":
            paths += [f"{path}.max_attempts", f"{path}.backoff.initial"]
        elif kind == "deadline":
            paths.append(f"{path}.timeout")
        elif kind == "timeout":
            paths += [f"{path}.{key}" for key in ("ttft", "total") if getattr(spec, key) is not None][:1]
    for fault in scenario.faults[:1]:
        strengths = [f"{effect}.percentage" for effect in ("abort", "delay", "stall", "break")]
        strengths += [f"{effect}.multiplier" for effect in ("latency", "capacity", "rate_limit", "price")]
        own = [one for one in strengths if getattr(fault, _attribute(one.partition(".")[0]), None) is not None]
        paths += [f"faults.{fault.name}.{one}" for one in own[:1]]
        if math.isfinite(fault.duration):
            paths.append(f"faults.{fault.name}.duration")
        paths += [f"faults.{fault.name}.{ramp}" for ramp in ("ramp_up", "ramp_down") if getattr(fault, ramp)]
    if not traffic.base_rate:
        paths.remove("traffic.base_rate")
    return paths + [path for path, _ in policies]


def controls_of(scenario: Scenario, wanted: Wanted | None = None) -> list[Control]:
    """Controls for these paths, in this order.

    Parameters
    ----------
    scenario
        What they turn.
    wanted
        Paths; or a mapping from path to ``(low, high)``, to a list of choices, or to None for the usual range. The path
        of a policy (``gateway.retry``) is a switch that takes it out. Default: `default_paths`.

    Raises
    ------
    ScenarioError
        For paths that lead nowhere, or to what cannot be turned, all at once.
    """
    asked: dict[str, Any] = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(
        [wanted] if isinstance(wanted, str) else default_paths(scenario) if wanted is None else wanted
    )  # fmt: skip
    data, _ = with_preset(Document(to_values(scenario), scenario.name))
    document = Document(data, scenario.name)
    controls, problems = [], []
    for path, given in asked.items():
        try:
            controls.append(_control(scenario, document, path, given))
        except ScenarioError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(Problem(str(error), path))
    if problems:
        raise ScenarioError(problems, "controls")
    if not controls:
        raise LlmsimError("there is nothing to turn; name paths, as in controls=['traffic.base_rate']")
    return controls


def _control(scenario: Scenario, document: Document, text: str, given: Any) -> Control:
    path = resolve(document, text)
    if _is_policy(path):
        return Control(text, (text,), "switch", True, policy=(str(path[1]), int(path[2])))
    value, annotation = _value_at(scenario, path, text), _annotation(path)
    peak = _peak(scenario)
    paths = tuple(peak) if text in peak else (text,)
    label = "height of the spike" if text in peak else text
    if isinstance(value, bool):
        return Control(label, paths, "switch", value)
    written = _written(scenario, text)
    if isinstance(value, str) or (isinstance(given, list) and not _is_number(value)):
        choices = [str(one) for one in given or _choices(annotation)]
        if not choices:
            raise ValueError(f"{value!r} can be any text; give its choices, as in controls={{{text!r}: ['a', 'b']}}")
        return Control(label, paths, "choice", str(value), tuple(dict.fromkeys([*choices, str(value)])))
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f"stands at {value!r}, which is no number to start from; give it one in the scenario")
    spelling = _Spelling.of(_unit(annotation), value, written)
    if isinstance(given, list):
        return Control(label, paths, "choice", spelling.present, spelling.sorted([str(one) for one in given]))
    return Control(label, paths, "slider", spelling.present, spelling.sorted(spelling.places(given)))


def _is_policy(path: Path) -> bool:
    inside = path[:1] == ("gateway",) and path[1:2] in (("policies",), ("upstream",))
    return inside and (len(path) == 3 or (len(path) == 4 and path[3] in policy_kinds()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- where things are ----------------------------------------------------------------------------------------------


def _addresses(scenario: Scenario) -> list[tuple[str, Any]]:
    """The path of each policy; by its index where its name is not enough."""
    found = []
    for scope, word in (("policies", "gateway"), ("upstream", "upstream")):
        specs = getattr(scenario.gateway, scope)
        names = [kind_of(spec) for spec in specs]
        for number, (spec, name) in enumerate(zip(specs, names, strict=True)):
            known = policy_kinds().get(getattr(spec, "kind", "")) is type(spec)
            alone = known and names.count(name) == 1
            found.append((f"{word}.{name}" if alone else f"gateway.{scope}[{number}]", spec))
    return found


def _peak(scenario: Scenario) -> list[str]:
    """The stages in which there is most traffic, where that is more than the base rate."""
    targets = [stage.target for stage in scenario.traffic.stages]
    top = max(targets, default=0.0)
    return [f"traffic.stages[{n}].target" for n, target in enumerate(targets) if target == top > 1]


def _attribute(key: str) -> str:
    return "break_" if key == "break" else key


def _value_at(scenario: Scenario, path: Path, text: str) -> Any:
    """What stands at a path in the scenario as it is, defaults included."""
    here: Any = scenario
    for number, part in enumerate(path):
        if path[1:2] in (("policies",), ("upstream",)) and number == 3:
            continue  # the kind: the policy itself was found by its index
        if isinstance(here, Distribution):
            here = values_of(here)
        try:
            here = (
                here[part]
                if isinstance(here, dict)
                else here[int(part)]
                if isinstance(here, tuple)
                else getattr(here, _attribute(str(part)))
            )
        except (AttributeError, KeyError, IndexError):
            known = list(here) if isinstance(here, dict) else list(keys_of(type(here))) if _has_keys(here) else []
            hint = nearest(str(part), map(str, known)) if known else ""
            raise ScenarioError([Problem(f"there is no {part!r}", text, hint=hint)], "controls") from None
    return values_of(here) if isinstance(here, Distribution) else here


def _has_keys(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def _annotation(path: Path) -> Any:
    """What the schema says about a path; None where it says nothing."""
    if path[1:2] in (("policies",), ("upstream",)) and len(path) > 4:
        return at_path(policy_kinds().get(str(path[3])), path[4:])
    return at_path(Scenario, path)


def _unit(annotation: Any) -> Unit | None:
    found = [one for one in getattr(annotation, "__metadata__", ()) if isinstance(one, Unit)]
    return found[0] if found else next(filter(None, map(_unit, get_args(annotation))), None)


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation) if isinstance(one, str)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _written(scenario: Scenario, text: str) -> str:
    """How the file spells it; empty: it does not."""
    if not isinstance(scenario.source, Document):
        return ""
    try:
        value = scenario.source.get(resolve(scenario.source, text))
    except ScenarioError:
        return ""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


# -- numbers and their texts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spelling:
    """How one number is written."""

    value: float  #: in SI
    present: str  #: the present value as text
    scale: float  #: of the number that is written, to SI
    spell: Callable[[float], str]  #: from the number that is written
    read: Callable[[str], float]  #: from text to SI; ValueError where the schema does not allow it
    share: bool
    whole: bool

    @classmethod
    def of(cls, unit: Unit | None, value: float, written: str) -> _Spelling:
        name = unit.name if unit is not None else ""
        scale, spell = _form(name, written)
        whole = isinstance(value, int) or (unit is not None and unit.whole)
        read = unit.parse if unit is not None else float
        present = spell(value / scale)
        for text in (written, present, spell(float(f"{value / scale:.12g}"))):
            if text and _reads_as(read, text, value):
                present = text
                break
        return cls(value, present, scale, spell, read, name == "a ratio", whole)

    def places(self, given: Any) -> list[str]:
        """The places of a slider, as texts."""
        now = self.value / self.scale
        if given is not None:
            low, high = (self.read(str(end)) if isinstance(end, str) else float(end) for end in given)
            if not low < high:
                raise ValueError(f"the range {given!r} goes from its lower to its upper end, as in (1, 10)")
            numbers = _round_steps(low / self.scale, high / self.scale, whole=self.whole)
        elif self.share:
            whole = 1 / self.scale
            reach = 4 * now if 0 < now <= whole / 2 else whole if now <= whole / 2 else 4 * (whole - now) or whole
            ends = (0.0, min(whole, reach)) if now <= whole / 2 else (max(0.0, whole - reach), whole)
            numbers = _round_steps(*ends)
        elif self.whole and now <= _SMALL / 4:
            numbers = [float(n) for n in range(1, max(8, round(4 * now)) + 1)]
        elif now > 0:
            numbers = [round(one) if self.whole else one for one in _preferred(now / _REACH, now * _REACH)]
        else:
            raise ValueError("is 0, which gives no range; name one, as in controls={'…': ('1s', '10s')}")
        return [self.spell(number) for number in numbers]

    def sorted(self, texts: Sequence[str]) -> tuple[str, ...]:
        """These and the present one, in order, without those that the schema does not allow."""
        found: dict[float, str] = {}
        for text in texts:
            try:
                found.setdefault(float(f"{self.read(text):.9g}"), text)
            except ValueError:
                continue
        found[float(f"{self.value:.9g}")] = self.present
        return tuple(text for _, text in sorted(found.items()))


def _reads_as(read: Callable[[str], float], text: str, value: float) -> bool:
    try:
        return math.isclose(read(text), value, rel_tol=_ROUND)
    except ValueError:
        return False


def _form(unit: str, written: str) -> tuple[float, Callable[[float], str]]:
    """Scale and spelling, as near to what is written as there is one."""
    if unit == "a duration":
        return 1.0, lambda number: format_duration(number) if number < 60 else f"{number:g}s" if number % 1 else (
            format_duration(number)
        )  # fmt: skip
    if unit == "a rate":
        per = written.rpartition("/")[2].strip() if "/" in written else "s"
        length = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "day": 86400.0}[per]
        return 1 / length, lambda number: f"{number:g}/{per}"
    if unit == "a ratio" and (not written or "%" in written):
        return 0.01, lambda number: f"{number:.6g}%"
    if unit == "a multiplier" and (not written or "x" in written):
        return 1.0, lambda number: f"{number:g}x"
    if unit == "a price per token":
        return 1e-6, lambda number: f"${number:g}/Mtok"
    if unit == "an amount of money":
        return 1.0, lambda number: f"${number:g}"
    return 1.0, lambda number: f"{number:.12g}"


def _preferred(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    numbers = [float(f"{one * 10.0**power:.6g}") for power in powers for one in _E24]
    return [number for number in numbers if low * (1 - _ROUND) <= number <= high * (1 + _ROUND)]


def _round_steps(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About 40 numbers, all multiples of 1, 2 or 5 times a power of ten, with both ends."""
    rough = (high - low) / _STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * (1 - _ROUND))
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - _ROUND), math.floor(high / step + _ROUND)
    return sorted({low, *(float(f"{n * step:.9g}") for n in range(first, last + 1)), high})
