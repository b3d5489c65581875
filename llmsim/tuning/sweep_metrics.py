"""What is measured at every point of a sweep: metrics by the words of SLO lines, without their bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.errors import LlmsimError
from llmsim.report.paired import COMPARED, Compared
from llmsim.scenario.objectives import METRICS as WORDS
from llmsim.scenario.objectives import Objective, ObjectiveError, parse_objective
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.metrics import METRICS

__all__ = ["Measured", "measured_of"]

_HIGH_IS_GOOD = ("goodput", "saved", "saved_net", "cache_hit_rate", "exact_hit_rate", "semantic_hit_rate")
_NEITHER = ("requests", "fallback_rate", "fallback_activations")
_SUFFIX = {"s": "_s", "usd": "_usd", "per_s": "_per_s"}


class Measured(NamedTuple):
    """One number of every replication."""

    name: str  #: as people write it: ``ttft p(95)``
    condition: Objective  #: that measures it; its bound means nothing

    @property
    def unit(self) -> str:
        """As in `llmsim.telemetry.metrics.METRICS`."""
        return METRICS[self.condition.metric].unit

    @property
    def column(self) -> str:
        """Its name in tables, with the unit last: ``ttft_p95_s``, ``error_rate{route:chat}``."""
        one = self.condition
        part = f"_p{one.percentile:g}" if one.aggregate == "p" else f"_{one.aggregate}"
        tags = ",".join(f"{name}:{value}" for name, value in one.tags)
        tail = "" if one.aggregate in ("value", "rate") else part
        return f"{one.metric}{tail}{_SUFFIX.get(self.unit, '')}{f'{{{tags}}}' if tags else ''}"

    @property
    def compared(self) -> Compared:
        """How it is compared."""
        one = self.condition
        if self.name in COMPARED:
            return COMPARED[self.name]
        good = None if one.metric in _NEITHER else one.metric not in _HIGH_IS_GOOD
        return Compared(one.metric, one.aggregate, one.percentile, low_is_good=good)


def measured_of(scenario: Scenario, names: Sequence[str] | None) -> tuple[Measured, ...]:
    """The metrics of these names.

    Parameters
    ----------
    scenario
        Whose routes and providers may stand in tags.
    names
        ``ttft p(95)``, ``error_rate``, ``ttft{route:chat} p(99)``; None: those that comparisons are made of.

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
    key, aggregate = _parts(name)
    known = WORDS.get(key.partition("{")[0])
    if known is not None and not aggregate:
        if "value" not in known.aggregates:
            raise LlmsimError(f"metric {name!r} is a distribution; say which number of it: {key} p(95), {key} mean")
        aggregate = "value"
    bound = known.unit.examples[0] if known is not None else "1"
    tags = {"route": [one.route for one in scenario.traffic.mix], "provider": list(scenario.providers)}
    try:
        condition = parse_objective(key, f"{aggregate or 'value'} < {bound}", tag_values=tags)
    except ObjectiveError as error:
        raise LlmsimError(
            f"metric {name!r}: {error.message.replace(f' < {bound}', '').rstrip('.')}. {error.hint}"
        ) from None
    if condition.burn is not None:
        raise LlmsimError(f"metric {name!r}: a burn rate has two windows and a bound; write it as an SLO line")
    shown = key if aggregate == "value" else f"{key} {aggregate}"
    return Measured(shown, condition)


def _parts(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"\s*([^\s{]+(?:\{[^}]*\})?)\s*(.*?)\s*", name)
    return (found[1], found[2]) if found else (name.strip(), "")
