from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmsim.algorithms.ledger import PICO, Ledger, window_at

LIMIT_USD = 0.01
LIMIT = PICO // 100
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

    @rule(key=st.sampled_from("abc"), amount=st.integers(0, 2 * LIMIT))
    def begins(self, key, amount):
        account = self.ledger.account(key, self.now)
        if account not in self.accounts:
            self.accounts.append(account)
        left = account.left
        reserved = account.reserve(amount)
        assert reserved == (amount <= left)  # all or nothing
        if reserved:
            self.open.append((account, amount))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def ends(self, data):
        account, amount = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        billed = data.draw(st.integers(0, amount))
        account.settle(amount, billed)
        self.paid[id(account)] = self.paid.get(id(account), 0) + billed

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def is_not_made(self, data):
        account, amount = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        account.settle(amount, 0)

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
            assert account.reserved == sum(amount for whose, amount in self.open if whose is account)
            assert account.overrun == 0

    @invariant()
    def only_this_windows_accounts_are_kept(self):
        assert len(self.ledger) <= 3


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25)


@given(st.lists(st.tuples(st.integers(0, LIMIT), st.integers(0, 3 * LIMIT)), max_size=30))
def test_what_is_billed_beyond_is_spent_and_counted(calls):
    account, spent, beyond = Ledger(LIMIT_USD, "run").account("a", 0.0), 0, 0
    for amount, billed in calls:
        if account.reserve(amount):
            account.settle(amount, billed)
            spent += billed
            beyond += max(billed - amount, 0)
    assert (account.spent, account.overrun, account.reserved) == (spent, beyond, 0)
    assert account.spent <= account.limit + account.overrun
    assert account.left >= 0


def test_what_is_free_fits_even_where_more_than_all_is_spent():
    account = Ledger(LIMIT_USD, "run").account("a", 0.0)
    assert account.reserve(LIMIT)
    account.settle(LIMIT, 2 * LIMIT)
    assert not account.reserve(1)
    assert account.reserve(0)
    assert account.left == 0


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
