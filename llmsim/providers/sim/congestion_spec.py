"""What a scenario says about the congestion that the models of one provider share, as frozen values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from llmsim.distributions.plain import Z99
from llmsim.units import MULTIPLIER, PositiveDuration, Ratio

__all__ = ["PRESETS", "Congestion", "CongestionLaw", "Shocks"]

FORBID: dict[str, Any] = {"extra": "forbid"}

_DAY = 86400.0

AtLeastOne = Annotated[float, dataclasses.replace(MULTIPLIER, low=1.0, examples=("1.6x", "3x"))]


@dataclass(frozen=True, kw_only=True)
class Shocks:
    """Times in which everything takes much longer.

    Parameters
    ----------
    every
        Mean time from the beginning of one to that of the next.
    duration
        Mean; exponentially distributed.
    factor
        Mean multiplier; what it is above 1 is exponentially distributed, as the extra delay of contention is in Epoch's
        measurements of TTFT (August 2026).
    """

    __pydantic_config__: ClassVar = FORBID

    every: PositiveDuration
    duration: PositiveDuration
    factor: AtLeastOne = 2.0


class CongestionLaw(NamedTuple):
    """The law in plain numbers."""

    sigma: float  #: of the logarithm of the slow part
    memory_s: float  #: in which its autocorrelation falls to 1/e
    shocks: Shocks | None


def _published(spearman: float, sigma: float, memory_s: float, shocks: Shocks | None = None) -> CongestionLaw:
    """`sigma` of ln TTFT of the provider's models around their medians, of which the part in common is the slow one.

    A rank correlation of s is one of 2·sin(pi·s/6) of normals; of the variance so much is shared.
    """
    return CongestionLaw(sigma * math.sqrt(2 * math.sin(math.pi * spearman / 6)), memory_s, shocks)


# The day-to-day autocorrelation of ln TTFT of one model is .2-.5 at OpenAI and Anthropic; .75 of the part in common
# times its share (.33 and .50) is .25 and .37. For Groq it is about 0.
_DAYS = -_DAY / math.log(0.75)
_HOURS = 6 * 3600.0

#: Measured by thefastest.ai, 15 April to 3 May 2024, about daily from three regions: mean pairwise Spearman of ln TTFT
#: deviations between the models of one provider, and their sigma. Shocks: moments in which the median model took about
#: twice its usual time, 1 of 71 at OpenAI (2.1x) and 4 of 72 at Anthropic (2.3x), all as seen from one region, so some
#: may be that region's network. How long they last is not to be seen in daily measurements: half an hour is assumed.
#: Faster changes than from day to day are not in these data at all.
PRESETS: dict[str, CongestionLaw] = {
    "openai-2024-04": _published(0.32, 0.366, _DAYS, Shocks(every=71 * 1800.0, duration=1800.0, factor=2.1)),
    "anthropic-2024-04": _published(0.48, 0.382, _DAYS, Shocks(every=18 * 1800.0, duration=1800.0, factor=2.3)),
    "fireworks-2024-04": _published(0.48, 0.556, _DAYS),
    "groq-2024-04": _published(0.23, 0.911, _HOURS),
}


@dataclass(frozen=True, kw_only=True)
class Congestion:
    """A slow multiplier of time to first token (and of token gaps) that the models of one provider have in common.

    Its mean is 1: it makes a provider uneven, not slower.

    Parameters
    ----------
    preset
        A measured one.
    p99
        99th percentile of the slow part over its median.
    memory
        How long it stays what it is: the autocorrelation falls to 1/e in this time.
    shocks
        On top of it; `factor` of 1 takes those of a preset away.
    inter_token
        What part of it (of its logarithm) token gaps have as well. In thefastest.ai's data what models share in gaps
        and what they share in TTFT have a Spearman correlation of -.07 (OpenAI) and -.26 (Anthropic): by default none.
    """

    __pydantic_config__: ClassVar = FORBID

    preset: Literal["openai-2024-04", "anthropic-2024-04", "fireworks-2024-04", "groq-2024-04"] | None = None
    p99: AtLeastOne | None = None
    memory: PositiveDuration | None = None
    shocks: Shocks | None = None
    inter_token: Ratio = 0.0

    def __post_init__(self) -> None:
        if self.preset is None and (self.p99 is None or self.memory is None):
            raise ValueError(
                f"congestion takes a preset ({', '.join(PRESETS)}), or p99 and memory like {{p99: 1.6x, memory: 10m}}"
            )

    @property
    def law(self) -> CongestionLaw:
        """The preset with what stands beside it."""
        law = PRESETS[self.preset] if self.preset is not None else CongestionLaw(0.0, 1.0, None)
        if self.p99 is not None:
            law = law._replace(sigma=math.log(self.p99) / Z99)
        if self.memory is not None:
            law = law._replace(memory_s=self.memory)
        return law if self.shocks is None else law._replace(shocks=self.shocks)
