"""Whole runs: every preset under the shipped spike, one replication each."""

from pathlib import Path

import pytest

import llmsim as ls
from llmsim.gateway.presets import preset_names

SPIKE = Path(__file__).parents[3] / "scenarios" / "hacker-news-spike.yaml"
#: More attempts than these per request sent would be another gateway's: most calls of one request.
MOST_CALLS = {"article-snippet": 18, "envoy": 2, "polly": 4, "portkey": 18, "litellm-fallbacks": 9}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own():
    return ls.run(SPIKE, replications=1)


@pytest.mark.parametrize("name", preset_names())
def test_runs_clean_and_worse_than_the_shipped_gateway(name, own):
    found = ls.run(ls.load(SPIKE).with_values({"gateway.preset": name}), replications=1)
    metrics = found.metrics
    assert metrics["safety"]["leaked_streams"] == 0
    if name not in ("polly", "resilience4j"):  # their retries also wait for a breaker that is open
        assert metrics["safety"]["sleep_after_last_attempt_s"] == 0
    assert 0 < found.requests["attempts"].max() <= MOST_CALLS.get(name, 3)
    assert metrics["error_rate"] > own.metrics["error_rate"]
    if "litellm" in name or name in ("portkey", "envoy"):  # they have somewhere else to go
        assert set(found.attempts["upstream"].unique()) == {"openai", "anthropic", "local"}
    elif name != "article-snippet":
        assert set(found.attempts["upstream"].unique()) == {"openai"}
