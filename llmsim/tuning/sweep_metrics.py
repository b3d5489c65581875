"""What is measured at every point of a sweep: metrics by the words of SLO lines without their bounds, and sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmsim.errors import LlmsimError
from llmsim.report.paired import COMPARED
from llmsim.scenario.objectives import ObjectiveError
from llmsim.scenario.spec import Scenario
from llmsim.scenario.sum_text import parse_sum
from llmsim.scenario.sums import Sum

__all__ = ["Measured", "measured_of"]

_SUFFIX = {"s": "_s", "usd": "_usd", "per_s": "_per_s"}


class Measured(NamedTuple):
    """One number of every replication."""

    sum: Sum

    @property
    def name(self) -> str:
        """As people write it: ``ttft p(95)``."""
        return self.sum.name

    @property
    def unit(self) -> str:
        """As in `llmsim.telemetry.metrics.METRICS`; empty: a number without a unit."""
        return self.sum.unit

    @property
    def column(self) -> str:
        """Its name in tables, with the unit last.

        ``ttft_p95_s``, ``error_rate{route:chat}``, ``(cost_per_ok + 0.02*false_hit_rate)_usd``.
        """
        suffix = _SUFFIX.get(self.unit, "")
        if self.sum.parts:
            return f"({self.name}){suffix}"
        (one,) = self.sum.metrics
        number = f"_p{one.percentile:g}" if one.aggregate == "p" else f"_{one.aggregate}"
        tags = ",".join(f"{name}:{value}" for name, value in one.tags)
        tail = "" if one.aggregate in ("value", "rate") else number
        part = "" if one.phase is None else f"_{one.phase.when}_{one.phase.fault or 'fault'}"
        part += "" if one.window_s is None else f"_window_{one.window_s:g}s"
        return f"{one.metric}{tail}{part}{suffix}{f'{{{tags}}}' if tags else ''}"


def measured_of(scenario: Scenario, names: Sequence[str] | None) -> tuple[Measured, ...]:
    """The metrics of these names.

    Parameters
    ----------
    scenario
        Whose routes, providers and faults may stand in them.
    names
        ``ttft p(95)``, ``error_rate``, ``ttft{route:chat} p(99)``, ``cost_per_ok + 0.02*false_hit_rate``; None: those
        that comparisons are made of.

    Raises
    ------
    LlmsimError
        For what is no metric, with how to write it.
    """
    wanted = list(dict.fromkeys(COMPARED if names is None else names))
    if not wanted:
        raise LlmsimError("metrics is empty; name at least one, e.g. error_rate")
    found = {one.column: one for one in reversed([_measured(scenario, name) for name in wanted])}
    return tuple(reversed(found.values()))  # error_rate and error_rate rate are one, under the first name


def _measured(scenario: Scenario, name: str) -> Measured:
    tags = {"route": [one.route for one in scenario.traffic.mix], "provider": list(scenario.providers)}
    try:
        return Measured(parse_sum(name, tag_values=tags, fault_names=[one.name for one in scenario.faults]))
    except ObjectiveError as error:
        raise LlmsimError(f"metric {name!r}: {error.message.rstrip('.')}. {error.hint}") from None
