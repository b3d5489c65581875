"""Limits and queues wait, refuse and release in the lab as they do over real sockets on the ordinary loop."""

from dataclasses import replace

import pytest
from gateway.policies.toys import levels
from parity.test_parity import _difference, fine
from parity.worlds import Story, simulated, tries_of

import llmsim as ls
from llmsim.gateway.policies import (
    Backoff,
    Bulkhead,
    FairQueue,
    LoadShedding,
    RateLimit,
    WaitingLine,
    WaitingRoom,
)

pytestmark = pytest.mark.clock

LINE = WaitingLine(limit=5, timeout=2.0)
STORIES = {
    "a rate limit makes them wait": Story(
        ls.Gateway(upstream=(RateLimit(requests=2.0, burst=0.5, queue=LINE),)), {"a": fine()}, requests=({}, {}, {})
    ),
    "a rate limit refuses, and the retry comes when it was told to": Story(
        ls.Gateway(
            policies=(ls.Retry(max_attempts=2, backoff=Backoff(initial=0.05)),),
            upstream=(RateLimit(requests=2.0, burst=0.5),),
        ),
        {"a": fine()},
        requests=({}, {}),
    ),
    "everything at once, and a room that lets one in every 0.3 s": Story(
        ls.Gateway(
            policies=(
                WaitingRoom(rate=1 / 0.3, at_once=2, queue=LINE),
                LoadShedding(at_once=5, delay=5.0, levels=levels({0: 0.5})),
                Bulkhead(at_once=1, queue=LINE),
                FairQueue(at_once=1, queue=LINE),
            )
        ),
        {"a": fine()},
        requests=({}, {}, {}),
    ),
    "turned away": Story(
        ls.Gateway(policies=(RateLimit(tokens=1.0, burst=20.0, expected_output=4),)), {"a": fine()}, requests=({}, {})
    ),
}


LIVE = tries_of(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_the_same_in_both_worlds(name):
    story = STORIES[name]
    expected = simulated(story)
    assert simulated(story) == expected
    assert {event[0] for event in expected.events} & {"queued", "rejected"}
    untimed = replace(expected, events=_without_times(expected.events))
    for found in LIVE(name):
        # How long somebody waited is measured, on a clock that is never exactly on time.
        spans = [[dict(event[1:]).get("waited_s", 0.0) for event in seen.events] for seen in (expected, found)]
        apart = max((abs(ours - theirs) for ours, theirs in zip(*spans, strict=False)), default=0.0)
        difference = _difference(untimed, replace(found, events=_without_times(found.events))) or (
            f"waits {apart:.3f} s apart" if apart > 0.02 + 2 * found.lag_s else ""
        )
        if not difference:
            break
    assert not difference


def _without_times(events):
    """What was emitted, but for what was measured (the delay of a retry is as told, which is measured, and jitter)."""
    timed = {"waited_s", "retry_after_s", "delay_s"}
    return [tuple(field for field in event if not (isinstance(field, tuple) and field[0] in timed)) for event in events]
