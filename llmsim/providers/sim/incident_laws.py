"""Published laws of provider incidents, as named presets.

Source of the presets of 2021-2024: status pages of OpenAI and Anthropic as collected for "An empirical
characterization of outages and incidents in public services for large language models" (AtLarge research,
llm-service-analysis @36c45981, 542 incidents to August 2024), fitted anew: durations lognormal, gaps between starts
Weibull with shape 0.6-0.8 (in clusters); exponentials fit clearly worse on both. Status pages are self-reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmsim.distributions import Distribution, Lognormal
from llmsim.distributions.plain import Z99

__all__ = ["ERROR_RATES", "PARTIAL_WEIGHT", "PRESETS", "IncidentLaw", "PresetName", "tilted"]

#: How status pages weigh a minute of partial outage against one of major outage; degraded performance weighs nothing
#: (documented by Instatus; the four pairs of outage minutes and weighted availability below agree with it).
PARTIAL_WEIGHT = 0.30

#: Error rates named in OpenAI's incident texts, except 100 %, which is an outage: "5-10 %", about 10 % of users, 20 %
#: twice, peaks of 60, 70 and 75 %, "75-90 %", 80 %.
ERROR_RATES = (0.075, 0.10, 0.20, 0.20, 0.60, 0.70, 0.75, 0.825, 0.80)

# Callers feel an incident until the fix; then it is watched. Mean time from "investigating" to the fix (lognormal,
# median 41 min, sigma 1.24: 88 min) over the mean duration of an OpenAI API incident (2.57 h).
_FELT = 41 * math.exp(1.24**2 / 2) / (2.57 * 60)

# "Latency" or "slow" stands in 6 % of incident titles of both vendors.
_SLOW = 0.06

_HOUR = 3600.0
_DAY = 86400.0

PresetName = Literal[
    "openai-api-2021-2024", "chatgpt-2021-2024", "anthropic-api-2021-2024", "claude-ai-2021-2024", "openai-2026-09"
]


@dataclass(frozen=True, kw_only=True)
class IncidentLaw:
    """When incidents of a provider begin, how long they last, and what they do to one of its services.

    Parameters
    ----------
    gap_scale_s, gap_shape
        Weibull law of the time from one beginning to the next; a shape below 1 makes clusters.
    duration
        Of an incident on the status page, in seconds.
    felt
        Share of that in which callers notice it.
    outage, partial, slow
        Shares of incidents in which a service is down, answers some calls with errors, or is slow. The rest concern
        other features, other customers, or nobody.
    spread
        How often an outage of one service of this provider, partial or not, is also one of another. A slow spell is
        common to all.
    peak_hours
        First hour of the day (UTC) and number of hours in which most incidents begin …
    peak_share
        … and how many do.
    weekend_share
        Of the beginnings that fall on Saturday or Sunday (UTC).
    """

    gap_scale_s: float
    gap_shape: float
    duration: Distribution
    felt: float = 1.0
    outage: float = 0.0
    partial: float = 0.0
    slow: float = 0.0
    spread: float = 1.0
    peak_hours: tuple[int, int] = (0, 24)
    peak_share: float = 1.0
    weekend_share: float = 2 / 7

    @property
    def mean_gap_s(self) -> float:
        """Expected time from one beginning to the next."""
        return self.gap_scale_s * math.gamma(1 + 1 / self.gap_shape)

    @property
    def unavailability(self) -> float:
        """Share of time lost to one service, partial outages weighed as status pages do."""
        weight = self.outage + PARTIAL_WEIGHT * self.partial
        return weight * self.felt * self.duration.mean / self.mean_gap_s


class _Vendor(NamedTuple):
    """What its services have in common."""

    spread: float
    peak_hours: tuple[int, int]
    peak_share: float
    weekend_share: float


# phi of outage days within a provider: .42-.48 at OpenAI, .83-.92 at Anthropic. A share of common incidents of that
# size gives a phi of that size, a little more since they come in clusters (tests: .48 and .89). A third of OpenAI's
# incidents begin 16-19 UTC, a fifth of Anthropic's 16-17 UTC; 6.8 and 6.4 % at weekends.
_OPENAI = _Vendor(0.42, (16, 4), 0.33, 0.068)
_ANTHROPIC = _Vendor(0.88, (16, 2), 0.20, 0.064)


def _published(
    *,
    gap: tuple[float, float],
    duration: tuple[float, float],
    uptime: float,
    weighted: float,
    vendor: _Vendor,
) -> IncidentLaw:
    """A law whose outage minutes are the published ones.

    Of all time, the share ``1 - uptime`` was partial plus major outage and ``1 - weighted`` was major outage plus 0.3
    of the partial: two equations for the two shares of time. Divided by the share of time in which an incident is
    felt they are the shares of incidents.
    """
    shape, scale_d = gap
    sigma, scale_h = duration
    law = Lognormal(p50=scale_h * _HOUR, p99=scale_h * _HOUR * math.exp(Z99 * sigma))
    partial = ((1 - uptime) - (1 - weighted)) / (1 - PARTIAL_WEIGHT)
    partial = min(partial, 1 - uptime)  # Anthropic API: the figures are rounded, a major outage of -0.005 % remains
    felt = _FELT * law.mean / (scale_d * _DAY * math.gamma(1 + 1 / shape))
    return IncidentLaw(
        gap_scale_s=scale_d * _DAY,
        gap_shape=shape,
        duration=law,
        felt=_FELT,
        outage=(1 - uptime - partial) / felt,
        partial=partial / felt,
        slow=_SLOW,
        spread=vendor.spread,
        peak_hours=vendor.peak_hours,
        peak_share=vendor.peak_share,
        weekend_share=vendor.weekend_share,
    )


_API = _published(gap=(0.653, 4.04), duration=(1.165, 1.259), uptime=0.99578, weighted=0.9982, vendor=_OPENAI)


def _september_2026() -> IncidentLaw:
    """15 OpenAI incidents in 6.7 days, support desk and other products included.

    Gaps: mean 11.5 h and CV .93 are a Weibull of shape 1.075 (its median of 8.4 h is the observed one); durations
    lognormal(1.22, 1.81 h). What they did to the API is not published. Assumed: as much as the incidents of 2021-2024
    did in all, so each concerns one caller less often. Hours and weekdays of 15 incidents say nothing: all are alike.
    """
    shape = 1.075
    law = IncidentLaw(
        gap_scale_s=11.5 * _HOUR / math.gamma(1 + 1 / shape),
        gap_shape=shape,
        duration=Lognormal(p50=1.81 * _HOUR, p99=1.81 * _HOUR * math.exp(Z99 * 1.22)),
        felt=_FELT,
    )
    less = (_API.felt * _API.duration.mean / _API.mean_gap_s) / (law.felt * law.duration.mean / law.mean_gap_s)
    return IncidentLaw(
        gap_scale_s=law.gap_scale_s,
        gap_shape=shape,
        duration=law.duration,
        felt=_FELT,
        outage=_API.outage * less,
        partial=_API.partial * less,
        slow=_API.slow * less,
        spread=_API.spread,
    )


#: Gaps: Weibull shape and scale in days. Durations: lognormal sigma and scale in hours. Uptime: without partial and
#: major outage minutes; weighted: the paper's availability.
PRESETS: dict[str, IncidentLaw] = {
    "openai-api-2021-2024": _API,
    "chatgpt-2021-2024": _published(
        gap=(0.810, 3.59), duration=(1.270, 1.395), uptime=0.99363, weighted=0.9966, vendor=_OPENAI
    ),
    "anthropic-api-2021-2024": _published(
        gap=(0.654, 3.90), duration=(1.388, 0.838), uptime=0.99722, weighted=0.9992, vendor=_ANTHROPIC
    ),
    "claude-ai-2021-2024": _published(
        gap=(0.597, 3.22), duration=(1.460, 0.878), uptime=0.99499, weighted=0.9984, vendor=_ANTHROPIC
    ),
    "openai-2026-09": _september_2026(),
}


def tilted(values: tuple[float, ...], mean: float) -> list[float]:
    """Weights of `values` with which their mean is `mean`, as even as that allows (exponential tilting)."""
    low, high = -200.0, 200.0
    for _ in range(100):
        tilt = (low + high) / 2
        weights = [math.exp(tilt * (value - mean)) for value in values]
        if sum(weight * (value - mean) for weight, value in zip(weights, values, strict=True)) > 0:
            high = tilt
        else:
            low = tilt
    total = sum(weights)
    return [weight / total for weight in weights]
