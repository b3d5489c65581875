"""The probe against a scripted server: which calls it makes, what it measures, and when it stops."""

import itertools
from collections import Counter

import pytest
from loopback import LoopbackServer, failure, hang, stream

from llmsim.calibrate import probe as probing
from llmsim.calibrate.network import network_of
from llmsim.calibrate.probe import price_of, probe
from llmsim.calibrate.probe_design import Design
from llmsim.errors import LlmsimError
from llmsim.luck import Luck
from llmsim.pricing import TokenPrice
from llmsim.providers.live.spec import LiveProvider

PRICE = TokenPrice(input=1e-6, output=2e-6)
SMALL = Design((20, 60), (2, 5), (1, 2), repeats=2, warm_up=1)
pytestmark = pytest.mark.clock


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(probing, "_PAUSE_S", 0.0)


def _answer(seen):
    """As many tokens as were asked for, 30 ms after the prompt, with the prompt's words counted."""
    words = sum(len(message["content"].split()) for message in seen.body["messages"])
    tokens = seen.body["max_tokens"]
    return stream(*["x"] * tokens, ttft_s=0.03, gap_s=0.002, usage=(words, tokens))


def _spec(server, **more):
    return LiveProvider(**{"base_url": server.url, "model": "m", "price": PRICE, "keep_alive": 0.0, **more})


def _asked(server):
    return [(seen.body["max_tokens"], seen.body["messages"][-1]["content"]) for seen in server.seen]


def test_every_pair_of_lengths_alone_and_in_company():
    rounds = SMALL.rounds()
    assert rounds == SMALL.rounds()
    assert rounds != Design((20, 60), (2, 5), (1, 2), repeats=2, warm_up=1, seed=1).rounds()
    assert [one.warm_up for one in rounds] == [True] + [False] * 12
    alone = Counter(one.sizes[0] for one in rounds if len(one.sizes) == 1 and not one.warm_up)
    assert alone == dict.fromkeys(itertools.product((20, 60), (2, 5)), 2)
    company = Counter(size for one in rounds if len(one.sizes) == 2 for size in one.sizes)
    assert company == dict.fromkeys(itertools.product((20, 60), (2, 5)), 2)
    for one in rounds:
        assert one.delays[0] == 0
        assert list(one.delays) == sorted(one.delays)
        assert max(one.delays) < 1
    odd = Design((20,), (2, 5, 9), (4,), repeats=1).rounds()
    assert [len(one.sizes) for one in odd] == [1, 1, 4]
    assert SMALL.cost_usd(PRICE) == pytest.approx(sum(1e-6 * i + 2e-6 * o for one in rounds for i, o in one.sizes))


@pytest.mark.parametrize("wrong", [{"input_tokens": ()}, {"output_tokens": (0,)}, {"repeats": 0}, {"warm_up": -1}])
def test_designs_that_make_no_sense(wrong):
    with pytest.raises(LlmsimError):
        Design(**wrong)


def test_calls_are_made_and_measured():
    told, progress = [], []
    with LoopbackServer(_answer) as server:
        calls, notes = probe(
            "local", _spec(server), SMALL, budget_usd=1.0, on_call=told.append, progress=progress.append
        )
        asked = _asked(server)
    assert notes == ()
    assert len(asked) == SMALL.calls == 17
    assert len(calls.sent_s) == len(told) == 16  # without the warm-up
    assert Counter(calls.output_tokens.tolist()) == {2: 8, 5: 8}
    assert (calls.ttft_s >= 0.03).all()
    assert (calls.e2e_s > calls.ttft_s).all()
    assert calls.cost_usd == pytest.approx(1e-6 * calls.input_tokens + 2e-6 * calls.output_tokens)
    assert len({content[:8] for _, content in asked}) == 17  # no two prompts begin alike
    assert (calls.busy <= 2).all()
    assert (progress[-1].calls, progress[-1].total) == (17, 17)
    assert progress[-1].spent_usd == pytest.approx(sum(row.cost_usd for row in told), abs=1e-3)


def test_the_budget_holds_and_what_there_is_comes_back():
    with LoopbackServer(_answer) as server:
        calls, (note,) = probe("local", _spec(server), SMALL, budget_usd=0.0006)
        made = len(server.seen)
    assert "could have passed the budget" in note
    assert 0 < len(calls.sent_s) < 16
    assert made < 17
    assert calls.cost_usd.sum() <= 0.0006


def test_failures_in_the_middle_are_measurements():
    with LoopbackServer(lambda seen: failure(429) if seen.number in (4, 5) else _answer(seen)) as server:
        calls, _ = probe("local", _spec(server), SMALL, budget_usd=1.0)
    assert Counter(calls.outcome) == {"ok": 14, "rate_limited": 2}


def test_a_call_that_never_ends_is_given_up():
    with LoopbackServer(lambda seen: hang() if seen.number == 3 else _answer(seen)) as server:
        calls, _ = probe("local", _spec(server), SMALL, budget_usd=1.0, call_timeout_s=0.3)
    assert Counter(calls.outcome) == {"ok": 15, "timeout": 1}


@pytest.mark.parametrize(
    ("answer", "made", "message"),
    [
        (failure(401), 1, "AuthError"),
        (failure(500), 3, "does not answer.*ServerError"),
        (failure(400, code="context_length_exceeded"), 1, "prompt of .* tokens"),
    ],
)
def test_who_does_not_answer_is_not_called_again_and_again(answer, made, message):
    with LoopbackServer(answer) as server:
        with pytest.raises(LlmsimError, match=message):
            probe("local", _spec(server), Design((20,), (2,), (1,), warm_up=3), budget_usd=1.0)
        assert len(server.seen) == made


def test_a_budget_needs_a_price_unless_the_server_is_ones_own():
    assert price_of("a", LiveProvider(base_url="http://127.0.0.1:8080/v1")) == TokenPrice()
    with pytest.raises(LlmsimError, match="openai has no price"):
        price_of("openai", LiveProvider(base_url="https://api.openai.com/v1"))


def test_what_the_server_says_is_kept(tmp_path):
    """Its own time until the first token, the status, and when to come back; the CSV has it all again."""
    from llmsim.calibrate.logs import read_log
    from llmsim.cli.calibrate_outputs import CallsFile

    headers = {"Content-Type": "text/event-stream", "openai-processing-ms": "20"}

    def answer(seen):
        if seen.number == 5:
            return failure(429, headers={"Retry-After": "7"})
        if seen.number == 6:
            return failure(503)
        if seen.number == 7:
            return failure(429)
        return stream("x", "x", ttft_s=0.03, usage=(20, 2), headers=headers)

    kept = CallsFile(tmp_path / "calls.csv")
    with LoopbackServer(answer) as server:
        calls, _ = probe("local", _spec(server), Design((20,), (2,), (1,), repeats=14, warm_up=1), budget_usd=1.0,
                         on_call=kept.add)  # fmt: skip
    kept.close()
    assert [calls.outcome.count(word) for word in ("ok", "rate_limited", "overloaded")] == [11, 2, 1]
    assert calls.server_s[calls.ok].tolist() == [0.02] * 11
    assert [int(status) for status in calls.status[~calls.ok]] == [429, 503, 429]
    assert calls.retry_after_s[4] == 7
    assert calls.retry_after_s[6] == float("inf")
    assert (calls.connect_s[calls.ok] > 0).all()
    again = read_log(kept.path).calls
    for name in ("status", "retry_after_s", "server_s", "connect_s"):
        assert getattr(again, name) == pytest.approx(getattr(calls, name), nan_ok=True), name
    found = network_of(calls, Luck(0))
    assert found.interval is not None
    assert 0.01 < found.interval[0] < found.median_s < found.interval[1] < 0.2
