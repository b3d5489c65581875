"""Named, dated providers: one YAML file each, in which every figure has its source beside it.

A file is read by `llmsim.scenario.profiles`, since YAML is read in one place. ``providers: {openai: {profile: …}}``
takes the figures of a profile as defaults; keys that stand beside it override them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal

from llmsim.units import PositiveCount, Ratio

__all__ = ["Defects", "Figure", "Profile", "Source", "profile_from", "profile_names", "profile_text"]

FORBID: dict[str, Any] = {"extra": "forbid"}

#: The style of prompt whose defects hold where a route names none: the task in plain words, the format below it.
PLAIN_STYLE = "fstring"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a figure comes from.

    Parameters
    ----------
    how
        ``fitted``: a family that passed the test on held-out halves. ``empirical``: a table, as none passed.
        ``measured``: a share or median of the data. ``quoted``: somebody else's figure. ``derived``: computed from such
        figures. ``listed``: in a price list.
    of
        The data or publication.
    date
        When it was measured or published.
    n
        Number of measurements behind it; None where the source does not say.
    note
        What one should know before believing it; for ``empirical``, which family came closest.
    """

    __pydantic_config__: ClassVar = FORBID

    how: Literal["fitted", "empirical", "measured", "quoted", "derived", "listed"]
    of: str
    date: str
    n: PositiveCount | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A setting of a provider, as a scenario file would write it, and its source."""

    __pydantic_config__: ClassVar = FORBID

    value: Any
    source: Source


@dataclass(frozen=True, kw_only=True)
class Defects:
    """How often an answer that should be JSON is not, for one style of prompt; without a JSON mode.

    Parameters
    ----------
    fence
        In a Markdown fence.
    prose
        Prose around the JSON.
    cut
        Ends before its closing bracket.
    no_json
        No JSON at all.
    bracket
        Not JSON for another reason, of which a missing bracket is the usual one.
    wrong_schema
        JSON, but not of the schema asked for.
    source
        Of all of them.
    """

    __pydantic_config__: ClassVar = FORBID

    fence: Ratio = 0.0
    prose: Ratio = 0.0
    cut: Ratio = 0.0
    no_json: Ratio = 0.0
    bracket: Ratio = 0.0
    wrong_schema: Ratio = 0.0
    source: Source

    @property
    def clean(self) -> float:
        """Share of answers that parse and have the schema."""
        bad = self.fence + self.prose + self.cut + self.no_json + self.bracket + self.wrong_schema
        return max(1.0 - bad, 0.0)

    @property
    def shares(self) -> dict[str, str]:
        """The shares as a scenario file writes them."""
        names = (field.name for field in fields(self) if field.name != "source")
        return {name: f"{100 * getattr(self, name):g}%" for name in names if getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A provider's model at a date.

    Parameters
    ----------
    name
        What scenarios call it.
    date
        Month or day its latencies were measured.
    description
        One sentence.
    figures
        Settings of a simulated provider by key.
    tiers
        Rate limits by tier of the account, as documented; a scenario picks one with ``tier:``.
    structured_output
        Defects by style of prompt.
    missing
        Keys about which nothing is known, and why; llmsim's own defaults hold there.
    seen
        Lengths of prompts and answers (``input_tokens``, ``output_tokens``) that it was asked for when it was measured,
        as ``traffic.mix`` may write them. They belong to the traffic: the provider does not take them from here.
    notes
        What else one should know.
    """

    __pydantic_config__: ClassVar = FORBID

    name: str
    date: str
    description: str
    figures: Mapping[str, Figure]
    tiers: Mapping[str, Figure] = field(default_factory=dict)
    structured_output: Mapping[str, Defects] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def settings(self, tier: str = "") -> dict[str, Any]:
        """What a scenario file would write in its place; with the rate limits of a tier."""
        values = {key: figure.value for key, figure in self.figures.items()}
        if self.structured_output:
            styles = {style: defects.shares for style, defects in self.structured_output.items()}
            values["output"] = {"json_defects": styles.get(PLAIN_STYLE, {}), "json_defects_by_style": styles}
        return {**values, "rate_limit": self.tiers[tier].value} if tier else values


@cache
def profile_names() -> tuple[str, ...]:
    """All profiles, sorted.

    Examples
    --------
    >>> "groq-llama-3-70b" in profile_names()
    True
    """
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def profile_text(name: str) -> str:
    """The file of a profile."""
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")


def profile_from(data: Mapping[str, Any]) -> Profile:
    """A profile from the content of its file."""
    from pydantic import TypeAdapter

    return TypeAdapter(Profile).validate_python(data)
