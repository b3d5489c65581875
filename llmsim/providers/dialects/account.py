"""One account at a provider: what is left of its limits, who gets in, and what that costs. No loop, no clock.

The numbers of a call are arguments and its ticket is a tuple, since admitting and settling happen for every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmsim.providers.dialects.limits import Limits
from llmsim.providers.dialects.meters import REQUESTS, Meter
from llmsim.types import NO_USAGE, Usage

__all__ = ["Account", "Accounting", "LimitHeaders", "Refused", "Ticket"]

#: When it was admitted; input and output tokens it was charged; what every meter was left with.
Ticket = tuple[float, float, float, list[float]]


class Refused(NamedTuple):
    """Why a call did not get in: the limit that keeps it out longest."""

    name: str  #: word of `Limits`
    wait_s: float  #: until it would get in; inf: never
    limit: float  #: what the limit holds when it is full
    used: float  #: of that, before this call
    requested: float
    levels: list[float]  #: what every meter has left
    now: float


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """How a vendor counts.

    Parameters
    ----------
    reserves_output
        Charge ``max_tokens`` at admission. Otherwise one token is charged, so that a call needs *something* to be left,
        and the rest when it is known.
    unset_output
        What is reserved where ``max_tokens`` is not given.
    cache_free
        Input read from the provider's cache is not charged at admission.
    settles
        What was charged is replaced by what was used when the call ends.
    settled_cache_free
        … without what came from the cache.
    larger
        Prompt and output together count as the larger of the two.
    output_weight
        Quota tokens per output token, when settled.
    counts_failures
        Refused and failed requests use up the limit of requests per minute.
    foresees
        The caller passes the tokens that the answer *will* have as ``max_tokens``.
    """

    reserves_output: bool = True
    unset_output: int = 0
    cache_free: bool = False
    settles: bool = False
    settled_cache_free: bool = False
    larger: bool = False
    output_weight: float = 1.0
    counts_failures: bool = False
    foresees: bool = False


class Account:
    """The state of one account; providers of one `quota_group` share it.

    Parameters
    ----------
    meters
        One per limit.
    accounting
        How amounts are counted.
    limits
        What it was made from.
    epoch_s
        POSIX seconds at loop time 0, for what is said in wall-clock time.
    """

    __slots__ = (
        "_cache_free",
        "_cuts",
        "_larger",
        "_reserves",
        "_settled",
        "_settled_cache_free",
        "_unset",
        "_weight",
        "accounting",
        "epoch_s",
        "foresees",
        "limits",
        "meters",
    )

    def __init__(self, meters: Sequence[Meter], accounting: Accounting, limits: Limits, epoch_s: float = 0.0) -> None:
        self.meters = tuple(meters)
        self.accounting = accounting
        self.limits = limits
        self.epoch_s = epoch_s
        self.foresees = accounting.foresees
        self._cuts: dict[str, float] = {}
        self._reserves = accounting.reserves_output
        self._larger = accounting.larger
        self._unset = accounting.unset_output
        self._cache_free = accounting.cache_free
        self._settled_cache_free = accounting.settled_cache_free
        self._weight = accounting.output_weight
        tokens = tuple(meter for meter in self.meters if meter.draws != REQUESTS and meter.name != "ramp")
        self._settled = tokens if accounting.settles else ()

    def admit(self, input_tokens: int, max_tokens: int | None, cached_tokens: int, now: float) -> Ticket | Refused:
        """Charge a call, or say why not.

        Parameters
        ----------
        input_tokens, cached_tokens
            Of the prompt, and those of them that are in the provider's cache.
        max_tokens
            The most the call wants back; None: as much as the model likes. Where the account `foresees`: what it gets.
        now
            Loop time; never less than before.
        """
        output = 1 if not self._reserves else self._unset if max_tokens is None else max_tokens
        taken = input_tokens - cached_tokens if self._cache_free else input_tokens
        total = taken + output if not self._larger else taken if taken > output else output
        amounts = (1.0, total, taken, output)
        levels = []
        for meter in self.meters:
            level = meter.refill(now) - amounts[meter.draws]
            if level < 0:
                return self._refuse(amounts, now)
            levels.append(level)
        for meter, level in zip(self.meters, levels):  # noqa: B905 - strict would be a fifth of the time of all this
            meter.level = level
        return (now, taken, output, levels)

    def settle(self, ticket: Ticket, usage: Usage, now: float) -> None:
        """Replace what the call was charged by what it used, where this vendor does; at its end or cancellation."""
        settled = self._settled
        if not settled:
            return
        _, taken, output, _ = ticket
        used_input, used_output, cached, _ = usage
        back_input = taken - (used_input - cached if self._settled_cache_free else used_input)
        back_output = output - used_output * self._weight
        backs = (0.0, back_input + back_output, back_input, back_output)
        for meter in settled:
            back = backs[meter.draws]
            # What comes back may be added to an old level, since both are cut off at the same capacity.
            level = (meter.refill(now) if back < 0 else meter.level) + back
            meter.level = level if level < meter.capacity else meter.capacity

    def failed(self, ticket: Ticket | None, now: float) -> None:
        """A call ended in an error of the provider's: after it was admitted, or (None) without being looked at."""
        if ticket is not None:
            self.settle(ticket, NO_USAGE, now)
        elif self.accounting.counts_failures:
            self._use_up_a_request(now)

    def rescale(self, multiplier: float, now: float, owner: str = "") -> None:
        """Multiply the agreed limits (a quota cut); 1 restores them. Cuts of several owners multiply."""
        self._cuts[owner] = multiplier
        whole = math.prod(self._cuts.values())
        for meter in self.meters:
            meter.scale(whole, now)

    def asked(self, input_tokens: float, output_tokens: float, max_tokens: float | None) -> tuple[float, ...]:
        """What a call is charged when it comes: requests, tokens, input tokens and output tokens (`Meter.draws`)."""
        if self.foresees:
            return self._amounts(input_tokens, output_tokens)
        return self._amounts(
            input_tokens, 1.0 if not self._reserves else self._unset if max_tokens is None else max_tokens
        )

    def expected(self, input_tokens: float, output_tokens: float, max_tokens: float | None) -> tuple[float, ...]:
        """What it costs in the end, counted in the same way."""
        if self._reserves and not self.accounting.settles:
            return self.asked(input_tokens, output_tokens, max_tokens)
        return self._amounts(input_tokens, output_tokens * self._weight)

    def _amounts(self, taken: float, output: float) -> tuple[float, ...]:
        return (1.0, max(taken, output) if self._larger else taken + output, taken, output)

    def snapshot(self, now: float) -> list[float]:
        """What every meter has left."""
        return [meter.refill(now) for meter in self.meters]

    def _refuse(self, amounts: tuple[float, ...], now: float) -> Refused:
        waits = [meter.wait_s(amounts[meter.draws], now) for meter in self.meters]
        wait_s = max(waits)
        meter = self.meters[waits.index(wait_s)]
        used = meter.capacity - meter.level
        if self.accounting.counts_failures:
            self._use_up_a_request(now)
            # What the refusal itself used up must come back too: who waits as long as he is told gets in.
            wait_s = max(meter.wait_s(amounts[meter.draws], now) for meter in self.meters)
        levels = self.snapshot(now)
        return Refused(meter.name, wait_s, meter.capacity, used, amounts[meter.draws], levels, now)

    def _use_up_a_request(self, now: float) -> None:
        """Take a request of the minute's where one is left, but leave no debt. Nobody says that the day's go too."""
        for meter in self.meters:
            if meter.name == "requests":
                meter.level = max(meter.refill(now) - 1.0, min(meter.level, 0.0))


class LimitHeaders(Mapping[str, str]):
    """The headers that tell the limits, written out when somebody looks.

    Parameters
    ----------
    render
        ``render(account, levels, now)`` makes them.
    account
        Whose limits they tell.
    ticket
        The call's.
    more
        Other headers, of a refusal.
    """

    __slots__ = ("_account", "_made", "_more", "_render", "_ticket")

    def __init__(
        self,
        render: Callable[[Account, Sequence[float], float], dict[str, str]],
        account: Account,
        ticket: Ticket,
        more: dict[str, str] | None = None,
    ) -> None:
        self._render = render
        self._account = account
        self._ticket = ticket
        self._more = more
        self._made: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._made is None:
            self._made = self._render(self._account, self._ticket[3], self._ticket[0]) | (self._more or {})
        return self._made

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"LimitHeaders({self._all()!r})"
