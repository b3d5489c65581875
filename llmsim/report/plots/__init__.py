"""Pictures of a result. matplotlib loads with the first one drawn; its backend and its settings stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llmsim.report.result import Result

__all__ = ["Plots"]


class Plots:
    """``result.plot``: each picture as a method.

    Given ``ax=``, a picture is drawn into it and `ax` returned; else it is a figure of its own that a notebook shows.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    @overload
    def timeline(self, *, ax: None = None) -> Figure: ...
    @overload
    def timeline(self, *, ax: Axes) -> Axes: ...
    def timeline(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Load, outcomes, TTFT, retries and faults over the measured time; into `ax`, load and outcomes alone."""
        from llmsim.report.plots.timeline import timeline

        return timeline(self._result, ax=ax)

    @overload
    def outcomes(self, *, ax: None = None) -> Figure: ...
    @overload
    def outcomes(self, *, ax: Axes) -> Axes: ...
    def outcomes(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Offered load, and what became of it, per second."""
        from llmsim.report.plots.timeline import outcomes

        return outcomes(self._result, ax=ax)

    @overload
    def ttft(self, *, ax: None = None) -> Figure: ...
    @overload
    def ttft(self, *, ax: Axes) -> Axes: ...
    def ttft(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Time to first token over the measured time: p50, p90 and p99, failures as never."""
        from llmsim.report.plots.timeline import ttft

        return ttft(self._result, ax=ax)

    @overload
    def e2e(self, *, ax: None = None) -> Figure: ...
    @overload
    def e2e(self, *, ax: Axes) -> Axes: ...
    def e2e(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Time to the whole answer over the measured time: p50, p90 and p99, failures as never."""
        from llmsim.report.plots.timeline import e2e

        return e2e(self._result, ax=ax)

    @overload
    def amplification(self, *, ax: None = None) -> Figure: ...
    @overload
    def amplification(self, *, ax: Axes) -> Axes: ...
    def amplification(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Attempts per request sent to a provider, over the measured time."""
        from llmsim.report.plots.timeline import amplification

        return amplification(self._result, ax=ax)

    @overload
    def utilisation(self, *, ax: None = None) -> Figure: ...
    @overload
    def utilisation(self, *, ax: Axes) -> Axes: ...
    def utilisation(self, *, ax: Axes | None = None) -> Figure | Axes:
        """How busy each provider was: calls under way of its slots, and what was admitted of its rate limits."""
        from llmsim.report.plots.utilisation import utilisation

        return utilisation(self._result, ax=ax)

    @overload
    def headroom(self, provider: str | None = None, *, replication: int = 0, ax: None = None) -> Figure: ...
    @overload
    def headroom(self, provider: str | None = None, *, replication: int = 0, ax: Axes) -> Axes: ...
    def headroom(self, provider: str | None = None, *, replication: int = 0, ax: Axes | None = None) -> Figure | Axes:
        """What each rate limit had left over time, and where calls were answered 429."""
        from llmsim.report.plots.headroom import headroom

        return headroom(self._result, provider, replication=replication, ax=ax)

    @overload
    def states(self, *, replication: int = 0, ax: None = None) -> Figure: ...
    @overload
    def states(self, *, replication: int = 0, ax: Axes) -> Axes: ...
    def states(self, *, replication: int = 0, ax: Axes | None = None) -> Figure | Axes:
        """Lanes of circuit breakers, cooldowns, ejections, shedding and moving limits: what each was doing when."""
        from llmsim.report.plots.states import states

        return states(self._result, replication=replication, ax=ax)

    @overload
    def fallback(self, *, ax: None = None) -> Figure: ...
    @overload
    def fallback(self, *, ax: Axes) -> Axes: ...
    def fallback(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Of each first choice, who answered its requests in the end; and how the calls to each provider ended."""
        from llmsim.report.plots.fallback import fallback

        return fallback(self._result, ax=ax)

    @overload
    def request(self, request_id: str | None = None, *, replication: int = 0, ax: None = None) -> Figure: ...
    @overload
    def request(self, request_id: str | None = None, *, replication: int = 0, ax: Axes) -> Axes: ...
    def request(self, request_id: str | None = None, *, replication: int = 0, ax: Axes | None = None) -> Figure | Axes:
        """One request as a waterfall of its attempts; without an id, the one with the most attempts."""
        from llmsim.report.plots.request import request

        return request(self._result, request_id, replication=replication, ax=ax)

    @overload
    def phase(self, y: Literal["goodput", "backlog"] = "goodput", *, ax: None = None) -> Figure: ...
    @overload
    def phase(self, y: Literal["goodput", "backlog"] = "goodput", *, ax: Axes) -> Axes: ...
    def phase(self, y: Literal["goodput", "backlog"] = "goodput", *, ax: Axes | None = None) -> Figure | Axes:
        """Offered load against goodput or backlog, as a way through time: hysteresis is metastable failure."""
        from llmsim.report.plots.phase import phase

        return phase(self._result, y, ax=ax)

    @overload
    def cost(self, *, ax: None = None) -> Figure: ...
    @overload
    def cost(self, *, ax: Axes) -> Axes: ...
    def cost(self, *, ax: Axes | None = None) -> Figure | Axes:
        """What was paid for what, as a waterfall."""
        from llmsim.report.plots.cost import cost

        return cost(self._result, ax=ax)

    @overload
    def tokens(self, by: str = "route", *, ax: None = None) -> Figure: ...
    @overload
    def tokens(self, by: str = "route", *, ax: Axes) -> Axes: ...
    def tokens(self, by: str = "route", *, ax: Axes | None = None) -> Figure | Axes:
        """Tokens billed per second, by route, tenant, user, …."""
        from llmsim.report.plots.telemetry import tokens

        return tokens(self._result, by, ax=ax)

    @overload
    def latency(self, *, ax: None = None) -> Figure: ...
    @overload
    def latency(self, *, ax: Axes) -> Axes: ...
    def latency(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Where the time of answers went: gateway, provider's queue, first token, generation; and what explains it."""
        from llmsim.report.plots.telemetry import latency

        return latency(self._result, ax=ax)

    @overload
    def delivery(self, *, ax: None = None) -> Figure: ...
    @overload
    def delivery(self, *, ax: Axes) -> Axes: ...
    def delivery(self, *, ax: Axes | None = None) -> Figure | Axes:
        """How long people look at a spinner, as delivered and if answers came whole."""
        from llmsim.report.plots.telemetry import delivery

        return delivery(self._result, ax=ax)

    @overload
    def cache(self, *, ax: None = None) -> Figure: ...
    @overload
    def cache(self, *, ax: Axes) -> Axes: ...
    def cache(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Cache hits and fallbacks over the measured time."""
        from llmsim.report.plots.telemetry import cache

        return cache(self._result, ax=ax)

    @overload
    def cache_frontier(self, *, ax: None = None, **options: Any) -> Figure: ...
    @overload
    def cache_frontier(self, *, ax: Axes, **options: Any) -> Axes: ...
    def cache_frontier(self, *, ax: Axes | None = None, **options: Any) -> Figure | Axes:
        """What each similarity threshold of the semantic cache would be worth, on the luck of this result.

        Runs each replication once more, with a cache that stays empty. `options` are those of
        `llmsim.report.frontier.frontier`: ``thresholds``, ``tolerance``, ``ttls``.
        """
        from llmsim.report.frontier import frontier

        result = self._result
        known = {"seed": result.seed, "replications": max(1, len(result.replications))}
        return frontier(result.scenario, **{**known, **options}).plot(ax=ax)

    def __repr__(self) -> str:
        names = " ".join(f".{name}()" for name in vars(Plots) if not name.startswith("_"))
        return f"pictures of {self._result.scenario.name}: {names}"
