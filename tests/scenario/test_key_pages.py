"""Every part of a scenario file has a page that a person can read."""

from __future__ import annotations

import pytest

from llmsim.scenario.key_pages import KeyPage, key_page


def _all(page: KeyPage) -> list[KeyPage]:
    below = [f"{page.path}.{key.name}".lstrip(".") for key in page.keys if key.inner]
    skipped = ("slo", "steady_state", "gateway.policies", "gateway.upstream")
    return [page, *(one for path in below if path not in skipped for one in _all(key_page(path)))]


def test_every_part_can_be_looked_at_and_every_key_is_explained() -> None:
    pages = _all(key_page())
    assert {"faults.abort", "traffic.mix.agent", "providers.serving", "clock"} <= {page.path for page in pages}
    assert [f"{page.path}.{key.name}" for page in pages for key in page.keys if not key.text] == []
    nothing = [key.name for page in pages for key in page.keys if "" in key.examples or key.text.startswith("See ")]
    assert nothing == []


def test_a_page_says_what_is_needed_what_is_taken_without_and_how_it_is_written() -> None:
    keys = {key.name: key for key in key_page("faults").keys}
    assert keys["name"].needed and not keys["at"].needed
    assert keys["at"].default == "0s" and "30s" in keys["at"].examples
    assert keys["abort"].inner and not keys["at"].inner
    assert keys["sequence_per"].examples == ("provider", "request")


def test_the_name_of_a_provider_may_stand_in_the_path() -> None:
    assert key_page("providers.openai.rate_limit").keys == key_page("providers.rate_limit").keys


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("fault", "a scenario has no key 'fault'. Did you mean 'faults'?"),
        ("faults.abbort", "faults has no key 'abbort'. Did you mean 'abort'?"),
        ("providers.openai.rate_limits", "providers.openai has no key 'rate_limits'. Did you mean 'rate_limit'?"),
        ("gateway.retry", "gateway has no key 'retry'. What a policy takes: llmsim policies retry"),
        ("upstream.timeout.ttft", "What a policy takes: llmsim policies timeout"),
        ("seed", "seed has no keys below it"),
        ("gateway.upstream", "`llmsim policies` lists them"),
        ("slo", "retry_amplification, recovery_time"),
    ],
)
def test_what_is_no_part_says_what_is(path: str, says: str) -> None:
    with pytest.raises(LookupError) as error:
        key_page(path)
    assert says in str(error.value)
