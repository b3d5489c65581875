from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmsim.algorithms.ledger import PICO, Ledger, window_at

LIMIT_USD = 0.01
WINDOWS = ("hour", "day", "month", "run")


class Spending(RuleBasedStateMachine):
    """Any interleaving of calls that begin, end, are not made, and of windows that turn over in between."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.ledger = Ledger(LIMIT_USD, "hour")
        self.open = []
        self.accounts = []  # every one there ever was, also those the ledger has let go
        self.paid = {}  # of our own: what each has been billed

    @rule(key=st.sampled_from("abc"), usd=st.floats(0, 2 * LIMIT_USD))
    def begins(self, key, usd):
        account = self.ledger.account(key, self.now)
        if account not in self.accounts:
            self.accounts.append(account)
        left = account.left
        charge = self.ledger.reserve(key, usd, self.now)
        assert (charge is None) == (round(usd * PICO) > left)  # all or nothing
        if charge is not None:
            self.open.append((charge, usd))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.floats(0, 1))
    def ends(self, data, share):
        charge, usd = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.ledger.settle(charge, usd * share)
        self.paid[id(charge.account)] = self.paid.get(id(charge.account), 0) + round(usd * share * PICO)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def is_not_made(self, data):
        charge, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.ledger.settle(charge, 0.0)

    @rule(wait=st.floats(0, 5000))
    def time_passes(self, wait):
        self.now += wait

    @invariant()
    def never_negative_never_past_the_limit(self):
        for account in self.accounts:
            assert account.reserved >= 0
            assert account.spent >= 0
            assert account.spent + account.reserved <= account.limit
            assert account.spent == self.paid.get(id(account), 0)
            assert account.reserved == sum(charge.amount for charge, _ in self.open if charge.account is account)
            assert account.overrun == 0

    @invariant()
    def only_this_windows_accounts_are_kept(self):
        assert len(self.ledger) <= 3


TestSpending = Spending.TestCase


@given(st.lists(st.tuples(st.floats(0, LIMIT_USD), st.floats(0, 3)), max_size=30))
def test_what_is_billed_beyond_is_spent_and_counted(calls):
    ledger, spent, beyond = Ledger(LIMIT_USD, "run"), 0, 0
    for usd, times in calls:
        charge = ledger.reserve("a", usd, 0.0)
        if charge is not None:
            ledger.settle(charge, usd * times)
            spent += round(usd * times * PICO)
            beyond += max(round(usd * times * PICO) - round(usd * PICO), 0)
    account = ledger.account("a", 0.0)
    assert (account.spent, account.overrun, account.reserved) == (spent, beyond, 0)
    assert account.spent <= account.limit + account.overrun
    assert account.left >= 0


def test_what_is_free_fits_even_where_more_than_all_is_spent():
    ledger = Ledger(LIMIT_USD, "run")
    ledger.settle(ledger.reserve("a", LIMIT_USD, 0.0), 2 * LIMIT_USD)
    assert ledger.reserve("a", 1e-9, 0.0) is None
    assert ledger.reserve("a", 0.0, 0.0) is not None
    assert ledger.account("a", 0.0).left == 0


@given(st.sampled_from(WINDOWS), st.floats(0, 4e9))
def test_windows_are_without_gaps(window, wall_s):
    begin, end = window_at(window, wall_s)
    assert begin <= wall_s < end
    if window != "run":
        assert window_at(window, end)[0] == end
        assert window_at(window, begin) == (begin, end)


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        ("hour", "2026-02-28 23:00", "2026-03-01 00:00"),
        ("day", "2026-02-28 00:00", "2026-03-01 00:00"),
        ("month", "2026-02-01 00:00", "2026-03-01 00:00"),
    ],
)
def test_windows_are_those_of_the_calendar(window, begin, end):
    def seconds(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert window_at(window, seconds("2026-02-28 23:59")) == (seconds(begin), seconds(end))
