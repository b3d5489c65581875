"""Where the wall time of a run went: by policy, by provider, and what of it is the user's own code."""

from __future__ import annotations

import math
import sysconfig
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import llmsim
from llmsim.engine.sampler import Place, Stack
from llmsim.gateway.registry import policy_kinds
from llmsim.report.figures import count, share
from llmsim.report.grid import Grid

__all__ = ["Part", "TimeSpent", "owner"]

_ROOT = str(Path(llmsim.__file__).parent)
#: Others' code, and rooms of ours, that work for whoever called them: their time is their caller's.
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_SERVANTS = ("luck", "distributions", "algorithms", "units", "types", "pricing", "errors", "error_words", "callbacks")
_ROOMS = {
    "engine": "the loop",
    "traffic": "arrivals and users",
    "scenario": "arrivals and users",
    "telemetry": "recording",
    "stores": "cache stores",
    "gateway": "the pipeline",
}
_NOTE = (
    "A library's time is that of the part that called it. The pipeline is what composes the policies; the loop is "
    "timers, tasks and SimPy."
)
_SURE = 1.96  #: standard errors of a 95 % interval


class Part(NamedTuple):
    """One line of the table."""

    name: str
    looks: int
    share: float  #: of all looks
    margin: float  #: half of the 95 % interval of `share`
    hottest: str  #: the line that was seen most often
    hottest_share: float  #: of this part's looks


@dataclass(frozen=True)
class TimeSpent:
    """What a sampler saw, as parts of the whole; shows itself as a table.

    Parameters
    ----------
    parts
        The largest first.
    looks
        How often the simulation was looked at.
    wall_s
        How long it took.
    """

    parts: tuple[Part, ...]
    looks: int
    wall_s: float

    @classmethod
    def of(cls, stacks: Mapping[Stack, int], wall_s: float) -> TimeSpent:
        """Each look is counted for the innermost of the parts that were on the stack."""
        looks: Counter[str] = Counter()
        lines: dict[str, Counter[str]] = {}
        for stack, times in stacks.items():
            name, place = _part(stack)
            looks[name] += times
            lines.setdefault(name, Counter())[f"{_short(place.file)}:{place.line} {place.function}"] += times
        total = sum(looks.values())
        parts = []
        for name, times in sorted(looks.items(), key=lambda one: (-one[1], one[0])):
            part = times / total
            hottest, seen = max(lines[name].items(), key=lambda one: (one[1], one[0]))
            margin = _SURE * math.sqrt(part * (1 - part) / total)
            parts.append(Part(name, times, part, margin, hottest, seen / times))
        return cls(tuple(parts), total, wall_s)

    def grid(self) -> Grid:
        """As a table."""
        rows = [
            (one.name, one.hottest, share(one.share), f"± {share(one.margin)}", share(one.hottest_share))
            for one in self.parts
        ]
        return Grid(
            f"Where {self.wall_s:.1f} s of wall time went ({count(self.looks)} looks)",
            ("part", "its hottest line", "share", "", "of it there"),
            rows,
            words=2,
            notes=(_NOTE,),
        )

    def __str__(self) -> str:
        return str(self.grid())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.grid()._repr_html_()


def owner(frame: FrameType) -> str:
    """The provider whose code this is, by name; nothing for other code."""
    code = frame.f_code
    if _room(code.co_filename) != "providers" or code.co_varnames[:1] != ("self",):
        return ""
    one = frame.f_locals.get("self")
    name = getattr(one, "name", None) or getattr(getattr(one, "provider", None), "name", None)
    return name if isinstance(name, str) else ""


def _part(stack: Stack) -> tuple[str, Place]:
    """The part a look belongs to, and the line in it."""
    for number, place in enumerate(stack):
        room = _room(place.file)
        if room == "providers":
            return _provider(stack[number:]), place
        if room == "policies":
            return _policy(stack[number:]), place
        if room == "yours":
            return f"your code: {place.function}", place
        if room in _ROOMS:
            return _ROOMS[room], place
    return "everything else", stack[-1]


def _provider(stack: Stack) -> str:
    """The nearest frame that knows its provider: helpers of it do not."""
    name = next((place.owner for place in stack if place.owner), "")
    return f"provider {name}" if name else "providers"


def _policy(stack: Stack) -> str:
    """The kind whose module is on the stack; others of these modules are shared by several kinds."""
    kinds = policy_kinds()
    for place in stack:
        room, kind = _room(place.file), Path(place.file).stem
        if room not in ("policies", ""):
            break
        if room and kind in kinds:
            return f"policy {kind}"
    return "what policies share"


@lru_cache(maxsize=4096)
def _room(file: str) -> str:
    """Whose file it is: a room of ours, ``yours``, or nothing for libraries and what serves others."""
    if file.startswith(_ROOT):
        parts = Path(file).relative_to(_ROOT).parts
        if parts[:2] == ("gateway", "policies"):
            return "policies"
        room = parts[0].removesuffix(".py")
        return "" if room in _SERVANTS else room
    if file.startswith((*_LIBRARIES, "<")):
        return ""
    return "yours"


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_ROOT)) if file.startswith(_ROOT) else path.name
