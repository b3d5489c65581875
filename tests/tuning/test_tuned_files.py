"""The tuned scenario as a file: what was changed before it was tuned is in it, too."""

import pytest
from tuning.told import BEST, DIAL, tuned

from llmsim.scenario.load import load_scenario, parse_scenario

TEXT = """\
version: 1
name: shop
traffic: {base_rate: 5/s}
providers: {a: {}}
gateway:
  policies:
    - retry: {max_attempts: 2, honor_retry_after: true}  # tuned
  upstream:
    - timeout: {ttft: 5s}
    - circuit_breaker
faults:
  - {name: outage, provider: a, at: 1s, duration: 2s, abort: {status: 503}}
"""


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=9",),
        ("gateway.retry.honor_retry_after=false",),
        ("upstream.circuit_breaker=off",),
        ("upstream.timeout=off", "upstream.circuit_breaker=false"),
        ("faults.outage=off", "upstream.timeout.ttft=3s"),
    ],
)
def test_what_was_set_is_written_with_what_was_tuned(tmp_path, overrides):
    place = tmp_path / "shop.yaml"
    place.write_text(TEXT)
    best = BEST._replace(settings={DIAL: 3})
    found = tuned(best=best, source=place, given={DIAL: [1, 2, 3]}, overrides=overrides)
    text = found.write(tmp_path / "tuned.yaml").read_text()
    assert parse_scenario(text) == load_scenario(place, [*overrides, f"{DIAL}=3"])
    assert "# tuned" in text
