"""How unevenly requests come, as frozen values: gaps between arrivals, and a rate that has moods of its own.

Two things can be uneven. *Gaps*: ``gamma`` and ``weibull`` spread the distances between arrivals (a cv of 1 is
Poisson). *The rate*: ``on_off``, ``mmpp`` and ``drift`` multiply it by something random that lasts. Real traffic is
more often the second: its index of dispersion grows with the window, which no spread of independent gaps does for long.
One of each may be combined. Neither changes the mean rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from llmsim.distributions import DurationDistribution
from llmsim.units import DURATION, BadValue, Multiplier, PositiveDuration, Unit

__all__ = ["ArrivalWords", "Burstiness", "Drift", "Gaps", "OnOff", "State"]

FORBID = {"extra": "forbid"}

_WORDS = ("poisson", "constant")
_CV = Unit("a coefficient of variation", ("2", "0.5"), lambda text: None, bare=True, low=0.02, high=10.0)
_SPREAD = replace(_CV, low=0.0, high=5.0)
#: Below a second nobody could tell a drifting rate from bursts, and it would be slow to draw.
_MEMORY = replace(DURATION, low=1.0, examples=("7m", "90s"))


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Independent gaps between arrivals with this coefficient of variation (1 is Poisson, above it bursty)."""

    __pydantic_config__: ClassVar = FORBID

    cv: Annotated[float, _CV]


@dataclass(frozen=True, kw_only=True)
class OnOff:
    """Bursts with silence between them. Within a burst the rate is base_rate × (burst + pause) / burst.

    Parameters
    ----------
    burst, pause
        How long a burst lasts, and the silence after it.
    spread
        Coefficient of variation of the rate from burst to burst (lognormal); 0: all bursts are as dense.

    Notes
    -----
    The Azure code-completion trace of 2023 (2.57 requests/s, gaps with a cv of 13.15; Patel et al., Splitwise, ISCA
    2024) is 58 bursts in 57 minutes: their length has p50 15.5 s and p90 26.8 s, their size p50 114 and p90 328, the
    pauses are 43.2 s on average, and inside the gaps have a cv of 2.2. So is ``{on_off: {burst: {lognormal:
    {p50: 15.5s, p99: 41.9s}}, pause: {exponential: 43s}, spread: 0.6}, gamma: {cv: 2.2}}``. On the spread: if lengths
    and rates are lognormal, those quantiles of lengths and sizes make the σ of the logarithm of the rate
    √(.825² − .427²) = .71, a cv of .8; the indices of dispersion (13.2, 71.3 and 160.5 over 1, 10 and 60 s) are met
    best by .5.
    """

    __pydantic_config__: ClassVar = FORBID

    burst: DurationDistribution
    pause: DurationDistribution
    spread: Annotated[float, _SPREAD] = 0.0

    def __post_init__(self) -> None:
        if self.burst.mean <= 0:
            raise BadValue("a burst must last; write burst: 15s", "burst")


@dataclass(frozen=True, kw_only=True)
class State:
    """One state of a Markov-modulated rate: this many times the usual, for `stay` on average (exponential)."""

    __pydantic_config__: ClassVar = FORBID

    rate: Multiplier
    stay: PositiveDuration


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The rate wanders: its logarithm is an Ornstein-Uhlenbeck process.

    Parameters
    ----------
    cv
        Coefficient of variation of the rate.
    memory
        After this time the correlation has fallen to 1/e.

    Notes
    -----
    The Azure conversation trace of 2023 (Patel et al., Splitwise, ISCA 2024) is locally Poisson with a drifting rate.
    Over its 58 whole minutes the index of dispersion is 16.1 at 332 requests a minute, which makes the cv
    √(15.1 / 332) = .21; the lag-1 autocorrelation .854 of the counts is .854 × 16.1 / 15.1 = .91 of the rate, a memory
    of 10 minutes. An hour of six memories shows 72 % of the variance: the cv is .25. Inside five minutes the gaps have
    a cv of 1.04. So: ``{drift: {cv: 0.25, memory: 10m}, gamma: {cv: 1.04}}``. (An index of 20.6 and a correlation of
    .83 are also told for this trace, with its last 22 s counted as a minute.)
    """

    __pydantic_config__: ClassVar = FORBID

    cv: Annotated[float, replace(_CV, high=5.0)]
    memory: Annotated[float, _MEMORY]


@dataclass(frozen=True, kw_only=True)
class Burstiness:
    """How arrivals deviate from evenness: spread gaps, a moody rate, or one of each.

    Parameters
    ----------
    gamma, weibull
        Family of the gaps; without one they are exponential.
    on_off, drift
        What happens to the rate.
    mmpp
        States of a Markov-modulated rate, at least two. From one it goes to any other with equal chances. The
        multipliers are scaled so that the mean over time is 1.
    """

    __pydantic_config__: ClassVar = FORBID

    gamma: Gaps | None = None
    weibull: Gaps | None = None
    on_off: OnOff | None = None
    mmpp: tuple[State, ...] = ()
    drift: Drift | None = None

    def __post_init__(self) -> None:
        if self.gamma and self.weibull:
            raise BadValue("gaps have one family; remove gamma or weibull", "weibull")
        moods = [name for name in ("on_off", "mmpp", "drift") if getattr(self, name)]
        if len(moods) > 1:
            raise BadValue(f"the rate has one mood, not {' and '.join(moods)}; remove one", moods[1])
        if not moods and not self.gamma and not self.weibull:
            raise BadValue("nothing is said about the arrivals; write {gamma: {cv: 2}}, or the word poisson")
        if len(self.mmpp) == 1 or (self.mmpp and not any(state.rate for state in self.mmpp)):
            raise BadValue(
                "mmpp needs two states at least, one of them with a rate; write mmpp: [{rate: 1x, stay: 5m}, "
                "{rate: 6x, stay: 20s}]",
                "mmpp",
            )


class _WordOrMapping:
    """``Annotated`` marker: a bare word, else a `Burstiness`; not a union, whose branches would blur error messages."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any, inner: Any) -> Any:
            if not isinstance(value, str):
                return inner(value)
            if value not in _WORDS:
                raise ValueError(_unknown(value))
            return value

        return core_schema.no_info_wrap_validator_function(validate, handler.generate_schema(Burstiness))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"enum": [*_WORDS]}, handler(schema)]}


def _unknown(word: str) -> str:
    from difflib import get_close_matches

    plain = word.replace("-", "_")
    if plain in ("gamma", "weibull"):
        return f"{word} arrivals need to know how bursty; write {{{plain}: {{cv: 2}}}}"
    if plain == "on_off":
        return "on_off arrivals need lengths; write {on_off: {burst: 15s, pause: 45s}}"
    if plain == "mmpp":
        return "mmpp arrivals need states; write {mmpp: [{rate: 1x, stay: 5m}, {rate: 6x, stay: 20s}]}"
    if plain == "drift":
        return "a drifting rate needs its size; write {drift: {cv: 0.25, memory: 7m}}"
    near = get_close_matches(plain, _WORDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "write poisson, constant, or a mapping like {gamma: {cv: 2}}"
    return f"unknown arrivals {word!r}; {hint}"


ArrivalWords = Annotated[Literal["poisson", "constant"] | Burstiness, _WordOrMapping()]
