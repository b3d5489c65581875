"""What is left of a limit that somebody else keeps, played against that somebody."""

import math

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.quota import Amounts, QuotaBook, Told

calls = st.lists(
    st.tuples(
        st.floats(0, 5),  # pause before it, seconds
        st.integers(1, 400),  # tokens
        st.floats(0, 8),  # seconds until its answer
        st.sampled_from(["tells", "tells", "tells", "silent", "fails"]),
    ),
    min_size=1,
    max_size=40,
)

few = settings(max_examples=examples(40))  # each is a sequence of steps


class Bucket:
    """The account itself: continuous refill, written here without looking at the book."""

    def __init__(self, limit, per_s):
        self.limit, self.per_s, self.level, self.now = limit, per_s, float(limit), 0.0

    def at(self, now):
        self.level = min(self.limit, self.level + self.per_s * (now - self.now))
        self.now = now
        return self.level


@few
@given(calls, st.integers(200, 1000), st.floats(0.5, 50), st.floats(0, 0.5))
def test_nothing_is_sent_beyond_what_is_left(steps, limit, per_s, headroom):
    book, account, now = QuotaBook(), Bucket(limit, per_s), 0.0
    answers = []  # (when, number, what it tells or None, failed)
    known = False
    for pause, tokens, answer_s, manner in steps:
        now += pause
        for when, number, told, failed in sorted(answer for answer in answers if answer[0] <= now):
            if failed:
                book.failed(number)
            else:
                book.told(number, {} if told is None else {"tokens": told}, when)
                known = known or told is not None
        answers = [answer for answer in answers if answer[0] > now]
        amounts = Amounts(tokens=tokens)
        if known and book.wait_s(amounts, now, headroom) > 0:
            continue
        left = account.at(now)
        if known:  # its own account of what is left never exceeds the real one
            assert tokens + headroom * limit <= left + 1e-6
        number = book.send(amounts, now)
        if left < tokens:
            answers.append((now + answer_s, number, None, True))  # refused: cannot happen once it knows
            assert not known
            continue
        account.level -= tokens
        told = Told(limit, account.level, per_s) if manner == "tells" else None
        answers.append((now + answer_s, number, told, manner == "fails"))


def test_what_was_over_before_an_elder_answer_tells_is_taken_from_it():
    book = QuotaBook()
    elder = book.send(Amounts(tokens=100), 0.0)
    silent = book.send(Amounts(tokens=300), 0.0)
    book.told(silent, {}, 0.5)
    book.told(elder, {"tokens": Told(1000, 900, 0)}, 1.0)
    assert book.share(1.0) == 0.6


def test_what_is_under_way_is_not_counted_as_left():
    book = QuotaBook()
    first = book.send(Amounts(tokens=100), 0.0)
    for _ in range(5):
        book.send(Amounts(tokens=100), 0.0)
    book.told(first, {"tokens": Told(1000, 900, 10)}, 1.0)
    assert book.share(1.0) == 0.4


def test_an_answer_that_was_overtaken_says_nothing():
    book = QuotaBook()
    first, second = (book.send(Amounts(tokens=100), 0.0) for _ in range(2))
    book.told(second, {"tokens": Told(1000, 800, 0)}, 1.0)
    book.told(first, {"tokens": Told(1000, 900, 0)}, 2.0)
    assert book.share(2.0) == 0.8


def test_waits():
    book = QuotaBook()
    assert book.wait_s(Amounts(tokens=1e9), 0.0) == 0.0  # nothing is known
    call = book.send(Amounts(tokens=0), 0.0)
    book.told(call, {"tokens": Told(1000, 500, 10), "requests": Told(10, 0, 0.5)}, 0.0)
    assert book.wait_s(Amounts(0, 400), 0.0) == 0.0
    assert book.wait_s(Amounts(1, 400), 0.0) == 2.0
    assert book.wait_s(Amounts(0, 600), 0.0) == 10.0
    assert book.wait_s(Amounts(0, 600), 0.0, headroom=0.1) == 20.0
    assert book.wait_s(Amounts(0, 1001), 0.0) == math.inf
    assert book.wait_s(Amounts(0, 950), 0.0, headroom=0.1) == math.inf
    call = book.send(Amounts(0), 0.0)
    book.told(call, {}, 0.0, retry_after_s=30.0)
    assert book.wait_s(Amounts(0, 1), 0.0) == 30.0


@few
@given(st.lists(st.sampled_from(["answer", "fail", "nothing"]), max_size=60))
def test_it_remembers_only_what_is_under_way(endings):
    book, open_calls = QuotaBook(), []
    for ending in endings:
        open_calls.append(book.send(Amounts(tokens=1), 0.0))
        if ending != "nothing":
            call = open_calls.pop(0)
            book.told(call, {}, 0.0) if ending == "answer" else book.failed(call)
        assert len(book._pending) <= len(open_calls)


def test_of_an_upstream_that_tells_nothing_no_more_is_kept_than_is_under_way():
    book = QuotaBook()
    hangs = book.send(Amounts(), 0.0)
    for number in range(1000):
        call = book.send(Amounts(), float(number))
        (book.failed if number % 2 else lambda one: book.told(one, {}, 0.0))(call)
    assert len(book._pending) <= 10
    book.told(hangs, {"requests": Told(10, 5, 1)}, 1000.0)
    assert book.wait_s(Amounts(), 1000.0) == 0.0
