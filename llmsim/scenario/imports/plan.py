"""What is common to all formats that are read: the gateway that comes out, and what was lost on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Note", "NoteKind", "Plan", "PolicyPlan", "Said", "amount", "duration", "price"]

NoteKind = Literal["not expressed", "approximated", "unknown key", "not copied", "chosen"]


class Said(NamedTuple):
    """A setting as a scenario file writes it, and where it comes from: a line and key of the source, or a default."""

    value: Any
    why: str


class Note(NamedTuple):
    """Something that the scenario does not say, or not quite."""

    kind: NoteKind
    line: int | None  #: in the source
    path: str  #: the key there
    text: str


class PolicyPlan(NamedTuple):
    """A policy of the gateway."""

    kind: str
    settings: dict[str, Said]


@dataclass
class Plan:
    """A gateway before it is written.

    Parameters
    ----------
    name
        Of the scenario.
    format
        What was read: ``litellm`` or ``portkey``.
    providers
        Settings by name, in the order a scenario has them: the first is where requests go that nothing routes.
    policies, upstream
        Of the two scopes, outermost first.
    notes
        In the order of the source's lines.
    """

    name: str
    format: str
    providers: dict[str, dict[str, Said]] = field(default_factory=dict)
    policies: list[PolicyPlan] = field(default_factory=list)
    upstream: list[PolicyPlan] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def policy(self, kind: str) -> dict[str, Any]:
        """Values of the policy of this kind, {} where there is none."""
        found = next((p for p in (*self.policies, *self.upstream) if p.kind == kind), None)
        return {key: said.value for key, said in found.settings.items()} if found else {}


def amount(number: float) -> str:
    """A number in full.

    Examples
    --------
    >>> amount(1234567.0), amount(0.5)
    ('1234567', '0.5')
    """
    return str(int(number)) if number == int(number) else repr(float(number))


def duration(seconds: float) -> str:
    """A duration as a scenario writes it, without loss.

    Examples
    --------
    >>> duration(8.75), duration(0.5), duration(600), duration(0)
    ('8.75s', '500ms', '10m', '0s')
    """
    if seconds >= 60 and seconds % 60 == 0:
        return f"{amount(seconds / 60)}m"
    if 0 < seconds < 1 and round(seconds * 1000, 6) == int(round(seconds * 1000, 6)):
        return f"{int(round(seconds * 1000, 6))}ms"
    return f"{amount(seconds)}s"


def price(usd_per_token: float) -> str:
    """A price per token.

    Examples
    --------
    >>> price(1.5e-07)
    '$0.15/Mtok'
    """
    return f"${amount(round(usd_per_token * 1e6, 9))}/Mtok"
