"""Leave out the upstream that sticks out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.ejection import Ejections
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._upstreams import as_upstream_sees, failure_matcher, failure_words, refusal
from llmsim.gateway.policies._words import OnWords
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import Multiplier, PositiveCount, PositiveDuration, Ratio

__all__ = ["OutlierEjection"]


@register("outlier_ejection")
@dataclass(frozen=True, kw_only=True)
class OutlierEjection:
    """Leave an upstream out for a while when it fails again and again, or more than the others; never too many at once.

    **Protects from** the one bad upstream among several good ones, at once and without a window to fill. Never are
    more than `max_ejection_percent` left out: when all are bad, that is no outlier, and to be asked is all they are
    good for.

    **Costs** capacity: the others get the load of the one that is left out, and it is left out longer each time.

    **Makes things worse** when the others cannot bear that load: they fail next. And a short row of errors by chance is
    an ejection: at 30 % independent errors, five in a row come every 586 calls on average.

    It belongs into upstream scope; the instances in front of all upstreams (of a replica, or of all with `shared`)
    know of each other. Requests need a fallback or a router that goes on to the next upstream when one refuses.

    The outcome of a call is taken when its *response* ends. A cancelled call says nothing unless the upstream's
    `timeout` cancelled it, nor does an error that the gateway raised itself. An error outside of `on` that has a status
    (400, 401, 429) counts as a success: the upstream is there and answers.

    Parameters
    ----------
    consecutive_errors
        Failures in a row that eject; None: no number does. Envoy's ``consecutive_5xx``: 5.
    interval
        Seconds between two looks at the rates, and of good health that take one off the number of times. Envoy's: 10 s.
    base_ejection_time
        Seconds of a first ejection; the n-th in a row lasts n times as long. Envoy's: 30 s.
    max_ejection_time
        Seconds of any ejection. Envoy's: 300 s.
    max_ejection_percent
        Share of all configured upstreams that may be left out at a time, rounded down; those that requests never go to
        count, too, so where a fallback names two of four, 50% can be both of them. Envoy has 10 %, for
        clusters of many hosts; half of a gateway's few upstreams leaves somebody to ask.
    always_eject_one
        One may be left out whatever the share, if there is another: Envoy's ``always_eject_one_host``, which is off
        (since 1.31; before, it was always so).
    failure_rate
        Share of failures in an interval that ejects; None: none does. Envoy's ``failure_percentage_threshold`` is 85%,
        and off.
    success_rate_stdev
        Ejects whose success rate in an interval is this many standard deviations below the mean of all; None: none
        does. Envoy has 1.9. One of n upstreams cannot be further below than √(n − 1), so 1.9 takes five upstreams.
    minimum_calls
        Ended calls of an upstream in an interval without which its rates say nothing. Envoy has 50 for the failure
        rate (and 100 for the success rate).
    ramp
        Seconds after an ejection during which only a share of the calls goes through, from 10 % in a straight line to
        all (Envoy's slow start); None: all at once.
    on
        Which errors are failures.
    shared
        One for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `CircuitOpen` with ``retry_after_s``: when this very request would go through. Emits ``outlier_ejection``
    with ``reason`` (``consecutive_errors``, ``failure_rate``, ``success_rate``), ``for_s`` and ``times``. Posts the end
    on ``run.health``.

    Examples
    --------
    >>> OutlierEjection(ramp=30.0).base_ejection_time
    30.0
    >>> OutlierEjection(consecutive_errors=None)
    Traceback (most recent call last):
    ValueError: nothing ejects; write consecutive_errors: 5, failure_rate: 85% or success_rate_stdev: 1.9
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    consecutive_errors: PositiveCount | None = 5
    interval: PositiveDuration = 10.0
    base_ejection_time: PositiveDuration = 30.0
    max_ejection_time: PositiveDuration = 300.0
    max_ejection_percent: Ratio = 0.5
    always_eject_one: bool = False
    failure_rate: Ratio | None = None
    success_rate_stdev: Multiplier | None = None
    minimum_calls: PositiveCount = 50
    ramp: PositiveDuration | None = None
    on: OnWords = ("server_error", "timeout", "connection_failed", "stream_broken")
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.consecutive_errors is None and self.failure_rate is None and self.success_rate_stdev is None:
            raise ValueError(
                "nothing ejects; write consecutive_errors: 5, failure_rate: 85% or success_rate_stdev: 1.9"
            )
        for key in ("consecutive_errors", "minimum_calls"):
            count = getattr(self, key)
            if count is not None and count < 1:
                raise ValueError(f"{key} must be at least 1, not {count!r}")
        for key in ("interval", "base_ejection_time", "max_ejection_time", "ramp", "success_rate_stdev"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                example = "1.9" if key == "success_rate_stdev" else "30s"
                raise ValueError(f"outlier_ejection {key} must be above 0, not {value!r}; write it like {example}")
        if self.max_ejection_time < self.base_ejection_time:
            raise ValueError("max_ejection_time must be at least base_ejection_time; write max_ejection_time: 5m")
        for key, example in (("max_ejection_percent", "50%"), ("failure_rate", "85%")):
            share = getattr(self, key)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{key} must be above 0% and at most 100%, not {share:g}; write {example}")
        failure_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: nobody is ejected."""
        return _OutlierEjectionHandler(self, run)


class _Panel:
    """What the instances in front of all upstreams share."""

    __slots__ = ("ejections", "handlers")

    def __init__(self, spec: OutlierEjection, names: tuple[str, ...]) -> None:
        self.handlers: dict[str, _OutlierEjectionHandler] = {}
        self.ejections = Ejections(
            names,
            consecutive=spec.consecutive_errors,
            interval_s=spec.interval,
            base_s=spec.base_ejection_time,
            max_s=spec.max_ejection_time,
            max_share=spec.max_ejection_percent,
            always_one=spec.always_eject_one,
            failure_rate=spec.failure_rate,
            stdevs=spec.success_rate_stdev,
            minimum_calls=spec.minimum_calls,
            ramp_s=spec.ramp or 0.0,
        )


class _OutlierEjectionHandler:
    __slots__ = ("_ended", "_host", "_matches", "_now", "_panel", "_run", "_spec")

    def __init__(self, spec: OutlierEjection, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._matches = failure_matcher(spec.on)
        names = run.upstreams if run.upstream in run.upstreams else (run.upstream,)
        self._panel: _Panel = run.health.common(run.name, lambda: _Panel(spec, names))
        self._panel.handlers[run.upstream] = self
        self._host = self._panel.ejections.hosts[run.upstream]
        self._ended = self._end

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if self._host.active:
            self._enter(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(error)
            raise
        response.on_end(self._ended)
        return response

    def _enter(self, request: Request) -> None:
        """Return if the request goes through; raise if it is refused."""
        run, ejections, name, now = self._run, self._panel.ejections, self._host.name, self._now()
        ejections.settle(name, now)
        luck = 0.0 if self._spec.ramp is None else run.luck("ramp", request)
        opens_s = ejections.opens_s(name, luck)
        if now < opens_s:
            raise refusal(run, f"{name or 'the gateway'} is ejected", opens_s - now)

    def _end(self, outcome: Outcome, usage: Usage) -> None:
        if outcome.error is not None:
            self._failed(outcome.error)
        elif outcome.kind == "ok":
            self._record(failed=False)

    def _failed(self, error: BaseException) -> None:
        error = as_upstream_sees(error)
        if self._matches(error):
            self._record(failed=True)
        elif getattr(error, "status", None) is not None:
            self._record(failed=False)

    def _record(self, *, failed: bool) -> None:
        ejected = self._panel.ejections.record(self._host.name, self._now(), failed=failed)
        if ejected:
            for name, reason in ejected.items():
                self._panel.handlers[name].ejected(reason)

    def ejected(self, reason: str) -> None:
        """Say that the upstream in front of which this stands is left out from now on."""
        host, run = self._host, self._run
        run.emit("outlier_ejection", reason=reason, for_s=host.for_s, times=host.times)
        run.health.refuse(run.upstream, run.name, host.until_s)
