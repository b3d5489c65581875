# ruff: noqa: E501 - long tuples of wrong things
"""Scenario files that went wrong: each a function of a file, a seed and a number."""

from __future__ import annotations

import copy
import io
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from ruamel.yaml import YAML
from spoilt_text import TEXTUAL

from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.keys import at_path, dataclass_of, keys_of
from llmsim.scenario.spec import Scenario
from llmsim.units import Unit, format_duration

__all__ = ["mutated", "shrunk"]

Tree = Any
Place = tuple[str | int, ...]

#: In place of a number, be it with a unit or without.
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3.7",
    "1e-9",
    "1e3",
    "1e6",
    "1e9",
    "1e12",
    "1e30",
    "1e308",
    "1e400",
    str(2**63),
    "9" * 400,
)
FACTORS = (0.001, 0.1, 0.5, 2, 10, 1000, 1e6)
UNITS = ("", "s", "ms", "us", "h", "d", "%", "x", "/s", "/min", "k", "M", "G", "/Mtok", "tok", "GB", "kib", "€", " s s")
WORDS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"), "", " ",
    "nan", "inf", ".inf", "~", "yes", "null", "2026-11-23", "12:30:45", "0x10", "0o17", "1_000", "*", "&a", "!!python/object:os.system",
    "\u202eabc", "é😀", "a" * 3000, "default", "openai", "anthropic", [], {}, [[]], [None], {"": None}, "{{x}}", "__class__", "-", "#",
)  # fmt: skip


def shrunk(text: str, folder: Path, most_s: float = 20.0) -> Tree:
    """The tree of a scenario file, so short that it runs in a second; times keep their proportions."""
    tree = YAML(typ="safe", pure=True).load(text)
    if not isinstance(tree, dict):
        return tree
    clock = tree.setdefault("clock", {})
    ratio = min(1.0, most_s / _seconds(clock.get("duration", "5m")))
    tree["replications"] = 1
    for key in ("warm_up", "duration", "drain"):
        if key in clock:
            clock[key] = _shorter(clock[key], ratio)
    for fault in tree.get("faults", []):
        for key in ("at", "duration"):
            if key in fault:
                fault[key] = _shorter(fault[key], ratio)
    if tree.get("faults"):
        tree.get("slo", {}).pop("recovery_time", None)  # there is no time for that
    for stage in tree.get("traffic", {}).get("stages", []):
        stage["duration"] = _shorter(stage["duration"], ratio)
    if (trace := tree.get("traffic", {}).get("trace")) is not None:
        trace["file"] = str(folder / trace["file"])
        trace["limit"] = 100
    return tree


def _seconds(text: str) -> float:
    from llmsim.units import DURATION

    return DURATION.parse(text)


def _shorter(text: str, ratio: float) -> str:
    return format_duration(round(_seconds(text) * ratio, 2)) if _seconds(text) else "0s"


def _own_kinds() -> dict[str, Any]:
    """The library's policies: those that other tests of the process have registered do what they like."""
    return {kind: cls for kind, cls in policy_kinds().items() if cls.__module__.startswith("llmsim.")}


def mutated(trees: list[Tree], seed: int, number: int) -> bytes:
    """The file of this number: a tree with one to three things wrong in it, and every third one text that was spoilt."""
    luck = random.Random(f"{seed}/{number}")
    tree = copy.deepcopy(trees[number % len(trees)])
    for _ in range(luck.choice((1, 1, 1, 1, 1, 2, 3))):
        luck.choice(_STRUCTURAL)(tree, trees, luck)
    text = _written(tree)
    if luck.random() < 0.2:
        return luck.choice(TEXTUAL)(text, luck)
    return text.encode("utf-8", "surrogatepass")


def _written(tree: Tree) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.allow_unicode = True
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _places(tree: Tree, at: Place = ()) -> Iterator[Place]:
    """Where there is something, the root left out."""
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from _places(value, (*at, key))


def _get(tree: Tree, place: Place) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def _put(tree: Tree, place: Place, value: Any) -> None:
    _get(tree, place[:-1])[place[-1]] = value


def _one(tree: Tree, luck: random.Random, wanted: Callable[[Any], bool] = lambda _: True) -> Place | None:
    places = [place for place in _places(tree) if wanted(_get(tree, place))]
    return luck.choice(places) if places else None


def _drop(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    if place := _one(tree, luck):
        del _get(tree, place[:-1])[place[-1]]


def _duplicate(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    place = _one(tree, luck, lambda value: isinstance(value, list) and len(value) > 0)
    if place:
        items = _get(tree, place)
        items.extend(copy.deepcopy(luck.choice(items)) for _ in range(luck.choice((1, 1, 2, 30))))


def _retype(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    if place := _one(tree, luck):
        value = _get(tree, place)
        _put(tree, place, luck.choice((*WORDS, [value], {"value": value}, [value, value], str(value))))


def _swap(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    one, two = _one(tree, luck), _one(tree, luck)
    if one and two and one[: len(two)] != two and two[: len(one)] != one:
        ours, theirs = _get(tree, one), _get(tree, two)
        _put(tree, one, theirs)
        _put(tree, two, ours)


def _rename(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    place = _one(tree, luck, lambda value: isinstance(value, dict) and len(value) > 0)
    if place:
        inside = _get(tree, place)
        key = luck.choice(list(inside))
        name = luck.choice(
            (
                key[:-1],
                key + "s",
                key.upper(),
                "",
                "<<",
                "__init__",
                "at",
                "name",
                "limit",
                "é",
                "a b",
                None,
                3,
                "x" * 500,
            )
        )
        value = inside.pop(key)
        inside[name] = value


def _number(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    """Another number in place of one, with its unit."""
    place = _one(
        tree, luck, lambda value: isinstance(value, int | float | str) and re.search(r"\d", str(value)) is not None
    )
    if not place:
        return
    value = _get(tree, place)
    found = luck.choice(list(re.finditer(r"\d+(?:\.\d+)?", str(value))))
    number = luck.choice(NUMBERS) if luck.random() < 0.5 else f"{float(found[0]) * luck.choice(FACTORS):.6g}"
    text = str(value)[: found.start()] + number + str(value)[found.end() :]
    _put(tree, place, text if isinstance(value, str) else float(number) if re.search(r"[.en]", number) else int(number))


def _unit(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    place = _one(tree, luck, lambda value: isinstance(value, str) and re.match(r"\$?\d", value) is not None)
    if place:
        number = re.match(r"\$?\d+(?:\.\d+)?", _get(tree, place))
        assert number is not None
        _put(tree, place, number[0] + luck.choice(UNITS))


def _splice(tree: Tree, trees: list[Tree], luck: random.Random) -> None:
    """A part of another scenario in place of one of this."""
    other = luck.choice(trees)
    here, there = _one(tree, luck), _one(other, luck)
    if here and there:
        same = [place for place in _places(other) if place[-1] == here[-1]]
        _put(tree, here, copy.deepcopy(_get(other, luck.choice(same) if same and luck.random() < 0.7 else there)))


def _nest(tree: Tree, _: list[Tree], luck: random.Random) -> None:
    place = _one(tree, luck)
    if place:
        value = _get(tree, place)
        for _level in range(luck.choice((3, 30, 60))):
            value = [value] if luck.random() < 0.5 else {"a": value}
        _put(tree, place, value)


def _known_word(tree: Tree, trees: list[Tree], luck: random.Random) -> None:
    """A word that could stand there, with a value of its kind, sane or extreme."""
    places = [(), *(place for place in _places(tree) if isinstance(_get(tree, place), dict))]
    place = luck.choice(places)
    cls = _class_at(tree, place)
    if cls is None:
        return
    keys = keys_of(cls)
    if not keys:
        return
    key = luck.choice(list(keys))
    _get(tree, place)[key] = _value(key, keys[key], luck)


def _policy(tree: Tree, trees: list[Tree], luck: random.Random) -> None:
    """One policy more, anywhere, with some of its words."""
    gateway = tree.get("gateway") if isinstance(tree, dict) else None
    if not isinstance(gateway, dict):
        return
    scope = gateway.setdefault(luck.choice(("policies", "policies", "upstream")), [])
    if not isinstance(scope, list):
        return
    kind = luck.choice(sorted(_own_kinds()))
    scope.insert(luck.randint(0, len(scope)), {kind: _object(_own_kinds()[kind], luck)})


def _slo(tree: Tree, trees: list[Tree], luck: random.Random) -> None:
    """An SLO line, nearly right."""
    from llmsim.telemetry.metrics import METRICS

    if not isinstance(tree, dict) or not isinstance(tree.get("slo", {}), dict):
        return
    metric = luck.choice([*METRICS, "nothing", ""])
    tag = luck.choice(("", "", "", "{route:chat}", "{provider:openai}", "{tenant:a,route:b}", "{route}", "{", "{:}"))
    name = luck.choice(
        (
            "value",
            "p(95)",
            "p(0)",
            "p(99.99999)",
            "p95",
            "max",
            "mean",
            "rate",
            "burn(99%, 5m, 30s)",
            "burn(100%, 1s, 2s)",
            "burn(99%, 1us, 0.1us)",
            "med",
            "min",
            "p(1e9)",
            "",
        )
    )
    bound = luck.choice(
        ("< 2s", "< 1%", "> 0", "< 5", "<= 1x", "< $1", "< nan", "< 1e400", "== 3", "< -1", "<", "< 10/s", ">= 0%")
    )
    tail = luck.choice(
        (
            "",
            "",
            " during fault",
            " after fault",
            " before fault",
            " during nothing",
            " during",
            " window 10s",
            " window 1us",
            " window 1d",
            " window",
            " window 0s",
            " abort_on_fail",
            " after fault window 5s abort_on_fail",
            " abort_on_fail window 1s",
        )
    )
    section = tree.setdefault(luck.choice(("slo", "slo", "steady_state")), {})
    if isinstance(section, dict):
        section[metric + tag] = [f"{name} {bound}{tail}"]
    if luck.random() < 0.2:
        tree["expect"] = {
            "fail": luck.choice(([metric], [metric + tag], ["ttft"], [], [metric, metric], metric, [None]))
        }


def _class_at(tree: Tree, place: Place) -> Any:
    """The dataclass of a mapping of a scenario file."""
    if place[:1] == ("gateway",) and len(place) >= 4 and place[1] in ("policies", "upstream"):
        cls = _own_kinds().get(str(place[3]))
        return dataclass_of(at_path(cls, place[4:])) if cls is not None else None
    found = at_path(Scenario, place)
    return dataclass_of(found) if found is not None else None


def _object(cls: Any, luck: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = keys_of(cls)
    wanted = luck.sample(sorted(keys), min(len(keys), luck.choice((0, 1, 1, 2, 3))))
    return {key: _value(key, keys[key], luck, depth + 1) for key in wanted}


def _value(key: str, annotation: Any, luck: random.Random, depth: int = 0) -> Any:
    """A value that could stand under a key."""
    if luck.random() < 0.05 or depth > 4:
        return luck.choice(WORDS)
    extras = getattr(annotation, "__metadata__", ())
    unit = next((one for one in extras if isinstance(one, Unit)), None)
    distributed = next((one.unit for one in extras if hasattr(one, "unit")), None)
    if distributed is not None:
        return _distribution(distributed, luck)
    if unit is not None:
        return _quantity(unit, luck)
    arguments = [one for one in get_args(annotation) if one is not type(None)]
    origin = get_origin(annotation)
    if origin is not None and getattr(origin, "_name", "") != "Literal" and str(origin).endswith("Literal"):
        return luck.choice(arguments)
    if extras or (origin is not None and str(origin) in ("typing.Union", "<class 'types.UnionType'>")):
        inner = arguments[:1] if extras else arguments
        return _value(key, luck.choice(inner), luck, depth)
    if origin is tuple:
        return [_value(key, arguments[0], luck, depth + 1) for _ in range(luck.choice((0, 1, 2, 5)))]
    if origin is not None and arguments:
        return {str(_value(key, arguments[0], luck, depth + 1)): _value(key, arguments[-1], luck, depth + 1)}
    if annotation is bool:
        return luck.random() < 0.5
    if annotation is int:
        return luck.choice((0, 1, -5, 10**9))
    if annotation is str:
        return luck.choice(("openai", "anthropic", "chat", "default", "x", ""))
    cls = dataclass_of(annotation)
    return luck.choice(WORDS) if cls is None else _object(cls, luck, depth)


def _quantity(unit: Unit, luck: random.Random) -> str:
    example = luck.choice(unit.examples)
    found = re.search(r"\d+(?:\.\d+)?", example)
    if found is None or luck.random() < 0.4:
        return example
    number = luck.choice(NUMBERS) if luck.random() < 0.5 else f"{float(found[0]) * luck.choice(FACTORS):.6g}"
    return example[: found.start()] + number + example[found.end() :]


def _distribution(unit: Unit, luck: random.Random) -> Any:
    families: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("lognormal", ("p50", "p99")), ("gamma", ("mean", "cv")), ("exponential", ("mean",)), ("uniform", ("low", "high")),
        ("normal", ("mean", "sd")), ("weibull", ("p50", "p99")), ("log_logistic", ("p50", "p99")), ("geometric", ("mean",)),
        ("constant", ("value",)),
    )  # fmt: skip
    if luck.random() < 0.3:
        return _quantity(unit, luck)
    family, parameters = luck.choice(families)
    return {
        family: {
            name: luck.choice(("0.4", "1e6", "0")) if name == "cv" else _quantity(unit, luck) for name in parameters
        }
    }


_STRUCTURAL = (
    _drop, _duplicate, _retype, _swap, _rename, _number, _number, _number, _number, _unit, _splice, _nest,
    _known_word, _known_word, _known_word, _known_word, _known_word, _known_word, _policy, _policy, _policy, _slo, _slo,
)  # fmt: skip
