"""Values written into a scenario's text: only they change, and it says what was wanted."""

from dataclasses import replace

import pytest

from llmsim.errors import LlmsimError
from llmsim.scenario.load import parse_scenario
from llmsim.scenario.rewrite import rewritten

TEXT = """\
# A shop.
version: 1
traffic: {base_rate: 4/s}   # chosen
providers:
  a: {ttft: 300ms}  # measured
gateway:
  policies:
    # keep users waiting a little
    - retry:
        max_attempts: 3   # the first included
        backoff: {initial: 200ms, max: 2s}
    - deadline: {timeout: 30s}
    - cache
  upstream:
    # opens early
    - circuit_breaker: {failure_rate: 50%}

    - timeout: {ttft: 5s}  # see the wiki
"""

HEAD = "version: 1\ntraffic: {base_rate: 4/s}  # chosen\nproviders: {a: {}}\n"


def write(values, gone=(), text=TEXT):
    wanted = parse_scenario(text).with_values(values)
    if gone:
        from llmsim.tuning.space_words import parse_space

        space = parse_space({path: [True, False] for path in gone}, wanted)
        wanted = space.settled(wanted, dict.fromkeys(gone, False))
    out = rewritten(text, values, list(gone), wanted, "shop.yaml")
    there = parse_scenario(out)
    assert replace(there, gateway=replace(there.gateway, preset="")) == replace(
        wanted, gateway=replace(wanted.gateway, preset="")
    )
    return out


@pytest.mark.parametrize(
    ("values", "was", "now"),
    [
        ({"gateway.retry.max_attempts": 5}, "max_attempts: 3   #", "max_attempts: 5   #"),
        ({"gateway.retry.backoff.initial": "312ms"}, "initial: 200ms,", "initial: 312ms,"),
        ({"gateway.retry.backoff.jitter": "none"}, "max: 2s}", "max: 2s, jitter: none}"),
        ({"gateway.deadline.timeout": 12.5}, "timeout: 30s", "timeout: 12.5s"),  # SI in Python, a unit in the file
        ({"upstream.circuit_breaker.failure_rate": 0.3}, "failure_rate: 50%", "failure_rate: 0.3"),
        ({"gateway.cache.ttl": "5m"}, "- cache\n", "- {cache: {ttl: 5m}}\n"),
        ({"traffic.base_rate": 6.0}, "base_rate: 4/s}   # chosen", "base_rate: 6/s}   # chosen"),
        ({"gateway.retry.budget": "20%"}, "        max_attempts: 3", "        budget: 20%\n        max_attempts: 3"),
        ({"upstream.timeout.inter_token": "2s"}, "{ttft: 5s}  # see", "{ttft: 5s, inter_token: 2s}  # see"),
    ],
)
def test_only_the_value_changes(values, was, now):
    assert TEXT.count(was) == 1
    assert write(values) == TEXT.replace(was, now)


def test_windows_line_ends_stay():
    text = TEXT.replace("\n", "\r\n")
    out = write({"gateway.retry.max_attempts": 5, "gateway.retry.budget": "20%"}, text=text)
    assert out.count("\r\n") == out.count("\n")


def test_a_policy_goes_and_its_neighbours_comments_stay():
    out = write({"gateway.retry.max_attempts": 2}, ["upstream.circuit_breaker"])
    assert "circuit_breaker" not in out
    assert "    - timeout: {ttft: 5s}  # see the wiki\n" in out
    both = write({}, ["upstream.circuit_breaker", "upstream.timeout"])
    assert parse_scenario(both).gateway.upstream == ()
    flow = HEAD + "gateway: {policies: [cache, deadline: {timeout: 3s}]}\n"
    assert "policies: [cache]" in write({}, ["gateway.deadline"], text=flow)


BLOCK = (
    HEAD
    + """\
gateway:
  policies:
  - retry:
      max_attempts: 3
faults:
- {name: brown-out, provider: a, at: 1s, duration: 2s, abort: {status: 503}}
- {name: outage, provider: a, at: 5s, duration: 2s, abort: {status: 503}}
"""
)


def test_the_only_policy_of_a_list_in_the_column_of_its_key_goes():
    out = write({}, ["gateway.retry"], text=BLOCK)
    assert "retry" not in out
    assert parse_scenario(out).gateway.policies == ()


@pytest.mark.parametrize("gateway", ["", "gateway: {preset: article-snippet}\n"])
def test_a_fault_goes(gateway):
    text = gateway + BLOCK.replace("a: {}", "a: {}, b: {}").replace(
        "gateway:\n  policies:\n  - retry:\n      max_attempts: 3\n", ""
    )
    out = write({"gateway.timeout.total": "9s"} if gateway else {}, ["faults.outage"], text=text)
    assert [fault.name for fault in parse_scenario(out).faults] == ["brown-out"]


def test_a_preset_is_written_out():
    text = HEAD.replace("{a: {}}", "{a: {}, b: {}}") + "gateway: {preset: article-snippet}\n"
    out = write({"gateway.timeout.total": "9s", "gateway.sdk.max_attempts": 1}, text=text)
    assert "# chosen" in out
    assert "preset:" not in out
    assert "article-snippet, written out and changed" in out


def test_what_cannot_be_written_is_an_error():
    text = TEXT.replace("max_attempts: 3 ", "max_attempts: 3 ")
    wanted = parse_scenario(text).with_values({"gateway.retry.max_attempts": 4})
    with pytest.raises(LlmsimError, match=r"shop\.yaml: the values cannot be written"):
        rewritten(text, {"gateway.retry.max_attempts": 5}, [], wanted, "shop.yaml")
