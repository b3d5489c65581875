"""A provider that is slower by itself than a bound on TTFT: said of nothing else that makes first tokens late."""

from __future__ import annotations

from typing import Any

import pytest
from report.results import scenario
from telemetry.recorded import attempt, numbered, replication, request

from llmsim.report.result import Result
from llmsim.report.unaided import unaided

_QUOTA = {"rate_limit": {"requests": "5000/min"}}  # which a fault of the scenario cuts
_LINE = {"ttft": ["p(90) < 2s"], "error_rate": ["value < 1%"]}


def _told(
    *, own_s: float = 2.5, waited_s: float = 0.0, queue_s: float = 0.0, calm: int = 200, cached: int = 0,
    provider: dict[str, Any] | None = None, **slo: Any,
) -> list[str]:  # fmt: skip
    """Three in four answered at once, one in four after so long; all but `calm` in the brown-out. Ten times.

    Besides, so many by a cache, as slow as if somebody had waited before it.
    """
    rows, tries = [], []
    for n in range(200):
        slow, at_s = n % 4 == 0, 60.0 if n < calm else 30.0
        start = at_s + (waited_s if slow else 0.0)
        first = start + (queue_s + own_s if slow else 0.3)
        rows.append(request(arrival_s=at_s, ttft_s=first - at_s, e2e_s=first - at_s + 1.0, output_tokens=50))
        tries.append(attempt(session=n, arrival_s=at_s, start_s=start, first_s=first, end_s=first + 1.0,
                             queue_s=queue_s if slow else 0.0))  # fmt: skip
    hit = {"served_by": "cache", "served_from": "cache", "first_choice": "", "attempts": 0, "cache_match": "exact"}
    rows += [request(arrival_s=60.0, ttft_s=2.2, e2e_s=2.2, **hit) for _ in range(cached)]
    runs = [replication(numbered(rows), tries, number=number) for number in range(10)]
    given = scenario(slo={**_LINE, **slo}, providers={"openai": {**(provider or {}), **_QUOTA}, "anthropic": {}})
    return unaided(Result(given, runs))


def test_a_provider_that_is_slow_by_itself() -> None:
    (sentence,) = _told()
    assert sentence == (
        "openai by itself (no queue, retry or fallback before) takes 2.5s to a first token at p(90): ttft p(90) < 2s "
        "needs a faster first choice, a hedge, or a higher bound."
    )


def test_what_a_cache_answers_is_none_of_the_upstreams() -> None:
    line = {"ttft_upstream": ["p(90) < 2s"]}
    assert _told(cached=400, **line)[0].endswith("ttft_upstream p(90) < 2s needs a faster first choice, a hedge, or a "
                                                 "higher bound.")  # fmt: skip


@pytest.mark.parametrize(
    "cause",
    [
        {"own_s": 0.5, "waited_s": 2.0},  # in the gateway
        {"own_s": 0.5, "queue_s": 2.0},  # at the provider, behind others
        {"calm": 0},  # in the brown-out
        {"calm": 4},  # in all but 40 answers, whose p(90) is the luck of four
        {"own_s": 1.9},  # not late
        {"ttft": ["p(90) < 2s window 10s"]},  # about every window, and not about all answers
        {"cached": 400},  # of all answers one in twelve is slow: whoever answers the others at once is within the bound
        {
            "provider": {
                "concurrency": 8,
                "load": {"of": "slots", "points": [{"at": "0%"}, {"at": "100%", "ttft": "9x"}]},
            }
        },
        {
            "provider": {
                "serving": {"slots": 8, "prefill_token": "1ms", "decode_step": "20ms", "decode_sequence": "1ms"}
            }
        },  # a step has company
    ],
)
def test_what_else_makes_first_tokens_late_is_not_its_own(cause: dict[str, Any]) -> None:
    assert _told(**cause) == []
