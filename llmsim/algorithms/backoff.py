"""How long to wait before trying again.

The formulas of full, equal and decorrelated jitter are those of "Exponential Backoff and Jitter" (AWS Architecture
Blog, 2015) and its simulator. One difference in counting: `initial` is the ceiling of the *first* wait; AWS's simulator
starts at attempt 1, so its ``base`` of 5 ms is an `initial` of 10 ms here (and of 5 ms for ``decorrelated``).
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from llmsim.constructors import checked_values
from llmsim.units import RATIO, Duration, Multiplier, PositiveDuration, format_duration

__all__ = ["Backoff", "Growth", "Jitter"]

Growth = Literal["exponential", "linear", "constant"]
JitterWord = Literal["full", "equal", "decorrelated", "added", "none"]
#: Which part of a wait is left to luck.
_SHARES = {"full": 1.0, "equal": 0.5, "none": 0.0}
_WORDS = ("full", "equal", "decorrelated", "added", "none")
_GROWTHS = ("exponential", "linear", "constant")

#: AWS: ``sleep = min(cap, uniform(base, sleep * 3))``.
_DECORRELATED_GROWTH = 3.0


def _jitter(value: Any) -> Any:
    """A word as it is, a share as a number."""
    if value in _WORDS:
        return value
    try:
        return RATIO.parse(value)
    except ValueError:
        raise ValueError(_unknown_jitter(value)) from None


def _unknown_jitter(value: object) -> str:
    near = get_close_matches(value, _WORDS, n=1) if isinstance(value, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"write {', '.join(_WORDS)}, or a share like 25%"
    return f"unknown jitter {value!r}; {hint}"


class _WordOrShare:
    """For pydantic: one error at the value, where a union would have one a branch."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_jitter)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"enum": [*_WORDS]}, RATIO.__get_pydantic_json_schema__(schema, handler)]}


Jitter = Annotated[JitterWord | float, _WordOrShare()]


@checked_values
@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Waits that grow, with a cap and a kind of jitter.

    With *b(n)* for the n-th retry as `growth` says, never above `max`, and U uniform in (0, 1), the wait is

    ============  =====================================================  =========================
    full          U·b(n)                                                 fewest calls in a crowd
    equal         b(n)/2 + U·b(n)/2                                      never returns at once
    25%           b(n)·(1 − 0.25·U)                                      that share of it is luck
    decorrelated  min(`max`, `initial` + U·(3·previous − `initial`))     grows by its own luck
    added         min(`max`, b(n) + U·`spread`)                          the same luck for all n
    none          b(n)                                                   keeps a crowd together
    ============  =====================================================  =========================

    What others do, in these words: the OpenAI and Anthropic SDKs ``{initial: 500ms, max: 8s, jitter: 25%}``
    (openai-python 2.54.0); LiteLLM's router ``{initial: 500ms, max: 8.75s, jitter: added, spread: 750ms}`` (1.106.2;
    its cap of 8 s is put on before the jitter, so from the sixth retry on its waits are U(8, 8.75) and these 8.75 s);
    stamina ``{initial: 100ms, max: 5s, jitter: added, spread: 1s}`` (26.1.0); tenacity's wait_random_exponential is
    ``full``; ±25 % is 40 % of luck on 1.25 times the wait.

    Parameters
    ----------
    initial
        Ceiling of the first wait, in seconds. 0: all retries come at once.
    max
        Ceiling of every wait, in seconds, jitter included.
    multiplier
        Growth from one wait to the next where it is exponential; at least 1. Not used by ``decorrelated``.
    growth
        ``exponential``: `initial`·`multiplier`^(n−1). ``linear``: `initial`·n. ``constant``: `initial`.
    jitter
        One of the words above, or the share of a wait that is left to luck.
    spread
        With ``added``: how much, in seconds.

    Raises
    ------
    ValueError
        For a `max` below `initial`, a `multiplier` below 1, an unknown word, or one that would have no effect.

    Examples
    --------
    >>> backoff = Backoff(initial=1.0, max=20.0, jitter="full")
    >>> [backoff.ceiling(retry) for retry in (1, 2, 3, 4, 5, 6)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    >>> backoff.delay(3, luck=0.25, previous=2.0)
    1.0
    >>> [Backoff(initial=0.5, growth="linear").ceiling(retry) for retry in (1, 2, 3)]
    [0.5, 1.0, 1.5]
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    initial: Duration = 1.0
    max: PositiveDuration = 20.0
    multiplier: Multiplier = 2.0
    growth: Growth = "exponential"
    jitter: Jitter = "full"
    spread: PositiveDuration | None = None

    def __post_init__(self) -> None:
        if not self.initial >= 0:
            raise ValueError(f"backoff initial must not be negative, like {self.initial!r}; write it like 250ms or 1s")
        if not (self.max >= self.initial and self.max > 0):
            raise ValueError(
                f"backoff max {format_duration(self.max)} is below initial {format_duration(self.initial)}; "
                f"write max: {format_duration(self.initial)} or more"
            )
        if not self.multiplier >= 1:
            raise ValueError(f"backoff multiplier must be at least 1, not {self.multiplier:g}; write 2 to double it")
        if self.growth not in _GROWTHS:
            raise ValueError(f"unknown growth {self.growth!r}; write exponential, linear or constant")
        self._check_jitter()
        if self.growth != "exponential":
            if self.multiplier != 2.0:
                raise ValueError(f"multiplier has no effect with growth: {self.growth}; remove one of them")
            if self.jitter == "decorrelated":
                raise ValueError("growth has no effect with decorrelated jitter; remove one of them")

    def _check_jitter(self) -> None:
        jitter = self.jitter
        if not (jitter in _WORDS if isinstance(jitter, str) else 0 <= jitter <= 1):
            raise ValueError(_unknown_jitter(jitter))
        if (jitter == "added") != (self.spread is not None):
            raise ValueError("jitter: added and spread need each other; write jitter: added, spread: 750ms")

    def ceiling(self, retry: int) -> float:
        """*b(n)*: the longest wait before the `retry`-th retry (from 1), in seconds, but for what is ``added``."""
        if self.growth == "linear":
            return min(self.max, self.initial * retry)
        if self.growth == "constant" or not self.initial:
            return self.initial
        try:
            return min(self.max, self.initial * self.multiplier ** (retry - 1))
        except OverflowError:
            return self.max

    def delay(self, retry: int, luck: float, previous: float) -> float:
        """Seconds to wait before the `retry`-th retry.

        Parameters
        ----------
        retry
            Number of the retry, from 1.
        luck
            Uniform in (0, 1).
        previous
            What this method returned for the retry before; `initial` for the first. Only ``decorrelated`` uses it.
        """
        jitter = self.jitter
        if jitter == "decorrelated":
            # Never below the first: after another error the wait may have been one of another backoff.
            previous = previous if previous > self.initial else self.initial
            return min(self.max, self.initial + luck * (_DECORRELATED_GROWTH * previous - self.initial))
        ceiling = self.ceiling(retry)
        if self.spread is not None:
            return min(self.max, ceiling + luck * self.spread)
        share = _SHARES[jitter] if isinstance(jitter, str) else jitter
        return ceiling * (1.0 - share + share * luck)

    def after(self, floor_s: float, retry: int, luck: float, delay_s: float) -> float:
        """`delay_s` raised to an upstream's Retry-After, with jitter *on top* of it.

        Everybody who was throttled in one instant was told the same time. Without jitter above the floor they
        all come back in the same instant (NousResearch/hermes-agent PR 109234: 19 of 20 retries at 600.0 s).

        Parameters
        ----------
        floor_s
            Retry-After in seconds.
        retry, luck
            As in `delay`; the spread above the floor is U(0, *b(n)*), U(0, `spread`) where jitter is ``added``, and
            nothing where there is no jitter.
        delay_s
            What `delay` said.
        """
        if self.jitter in ("none", 0.0):
            return max(delay_s, floor_s)
        return max(delay_s, floor_s + luck * (self.ceiling(retry) if self.spread is None else self.spread))
