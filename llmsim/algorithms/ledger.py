"""Money that may be spent: reserved before a call at the most it can cost, settled after it at what it did cost.

Amounts are whole numbers of 10⁻¹² USD (a token of $0.02/Mtok is 20,000 of them), so that "never negative" and "never
past the limit" hold exactly and not up to rounding.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Literal

__all__ = ["PICO", "Account", "Ledger", "Window", "window_at"]

PICO = 10**12  #: units in a USD

Window = Literal["hour", "day", "month", "run"]


def window_at(window: Window, wall_s: float) -> tuple[float, float]:
    """Begin and end (wall clock, UTC) of the calendar window in which `wall_s` lies.

    Examples
    --------
    >>> window_at("hour", 7300.0), window_at("month", 0.0), window_at("run", 5.0)
    ((7200.0, 10800.0), (0.0, 2678400.0), (-inf, inf))
    """
    if window == "run":
        return float("-inf"), float("inf")
    if window == "month":
        first = datetime.fromtimestamp(wall_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return first.timestamp(), (first + timedelta(days=31)).replace(day=1).timestamp()
    length_s = 3600.0 if window == "hour" else 86400.0
    begin_s = wall_s // length_s * length_s
    return begin_s, begin_s + length_s


class Account:
    """What one user (route, tenant, …) has spent in one window, and what is set aside for calls under way.

    ``spent + reserved <= limit`` always, as long as no call is billed more than was reserved for it; what is billed
    beyond counts as spent all the same, and in `overrun`.
    """

    __slots__ = ("limit", "overrun", "reserved", "spent", "told")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0
        self.reserved = 0
        self.overrun = 0  #: billed beyond what was reserved, in sum
        self.told: tuple[str, ...] = ()  #: what its owner has been told

    @property
    def left(self) -> int:
        """What can still be reserved; never negative."""
        return max(self.limit - self.spent - self.reserved, 0)

    def reserve(self, amount: int) -> bool:
        """Set `amount` aside for a call, if that much is left; what is free always fits."""
        if amount and self.spent + self.reserved + amount > self.limit:
            return False
        self.reserved += amount
        return True

    def settle(self, amount: int, billed: int) -> None:
        """The call for which `amount` was set aside has ended and cost `billed` (0: it was not made). Once for each."""
        self.reserved -= amount
        self.spent += billed
        if billed > amount:
            self.overrun += billed - amount


class Ledger:
    """Accounts by key, fresh in every window.

    A call belongs to the window in which it began. Only the current window's accounts are kept: as many as there were
    keys in it.

    Parameters
    ----------
    limit_usd
        Of each account, per window.
    window
        Calendar hours, days or months in UTC, or one for all time.

    Examples
    --------
    >>> ledger = Ledger(0.01, "hour")
    >>> most, billed = PICO * 6 // 1000, PICO * 2 // 1000
    >>> alice = ledger.account("alice", wall_s=0.0)
    >>> alice.reserve(most), alice.reserve(most)  # both together might cost more than there is
    (True, False)
    >>> alice.settle(most, billed)
    >>> alice.reserve(most), ledger.account("alice", wall_s=3600.0).spent
    (True, 0)
    """

    __slots__ = ("_accounts", "_limit", "_window", "begin_s", "end_s")

    def __init__(self, limit_usd: float, window: Window) -> None:
        self._limit = round(limit_usd * PICO)
        self._window: Window = window
        self._accounts: dict[Hashable, Account] = {}
        self.begin_s = self.end_s = float("-inf")  #: of the current window, wall clock

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, key: Hashable, wall_s: float) -> Account:
        """The account of `key` in the window of `wall_s` (which must not lie before one that was asked about)."""
        if wall_s >= self.end_s:
            self.begin_s, self.end_s = window_at(self._window, wall_s)
            self._accounts.clear()  # charges under way hold on to theirs
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(self._limit)
        return account
