"""What pictures of one scenario under many settings are told about their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Across", "Shown"]


class Across(NamedTuple):
    """A parameter that varied."""

    column: str  #: its name in the table
    label: str
    unit: str  #: as `llmsim.report.figures.figure` takes it; empty: bare numbers, choices
    labels: Mapping[Any, str]  #: of its values, in the order they were given
    numeric: bool = True
    log: bool = False


class Shown(NamedTuple):
    """A metric; its interval is in the columns ``…_low`` and ``…_high``."""

    column: str
    label: str
    unit: str
    low_is_good: bool | None = True
