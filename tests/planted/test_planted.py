"""No planted bug survives the library of scenarios, and each is caught for what it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmsim.cli.app import app
from tests.planted import bugs, otherwise
from tests.planted.gateways import changed, good

ROOT = Path(__file__).parents[2]

#: Bug -> scenario, the SLO that names it, and other lines that it may break there, as what it does shows in them, too.
CAUGHT: dict[str, tuple[str, str, set[str]]] = {
    "no_jitter": ("thundering-herd", "max_retries_at_once", set()),
    "no_timeout": ("slow-first-token", "ttft", {"max_in_flight", "abandoned_rate", "error_rate"}),
    "retry_on_400": ("key-rotation", "non_retryable_retries", {"retry_amplification"}),
    "retry_after_ignored": ("rate-limit-storm", "retry_after_ignored", {"retry_amplification"}),
    "breaker_never_closes": ("primary-outage", "fallback_rate", {"recovery_time"}),
    "fallback_loop": ("correlated-outage", "fallback_activations", {"retry_amplification"}),
    "unbounded_concurrency": ("self-hosted-rush", "max_upstream_in_flight", {"ttft", "e2e", "error_rate"}),
    "cache_shared_between_tenants": ("semantic-cache", "cross_tenant_hits", set()),
    "cache_ignores_threshold": ("semantic-cache", "false_hit_rate", set()),
    "leaked_streams": ("slow-first-token", "leaked_streams", set()),
    "budget_not_enforced": ("noisy-neighbour", "max_spend_per_user", set()),
    "retry_after_tokens": ("broken-streams", "duplicated_tokens", set()),
}

#: The same mistakes made otherwise -> scenario, and the SLO that names what they do.
OTHERWISE: dict[str, tuple[str, str]] = {
    "jitter_of_5_percent": ("thundering-herd", "max_retries_at_once"),
    "timeout_of_5_minutes": ("slow-first-token", "ttft"),
    "retry_on_422": ("key-rotation", "non_retryable_retries"),
    "retry_after_halved": ("rate-limit-storm", "retry_after_ignored"),
    "breaker_for_an_hour": ("primary-outage", "fallback_rate"),
    "cache_keyed_by_question": ("noisy-neighbour", "cross_tenant_hits"),
    "budget_after_the_call": ("noisy-neighbour", "max_spend_per_user"),
    "fallback_that_forgets": ("slow-first-token", "leaked_streams"),
}

Check = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Check:
    """What ``llmsim check SCENARIO --gateway …`` says of it."""
    monkeypatch.chdir(ROOT)

    def run(scenario: str, gateway: str) -> dict[str, Any]:
        told = tmp_path / "check.json"
        words = [f"scenarios/{scenario}.yaml", "--gateway", gateway, "--replications", "6", "--json", str(told)]
        result = CliRunner().invoke(app, ["check", *words, "--jobs", "1", "--no-progress", "--no-github"])
        (only,) = json.loads(told.read_text())
        return {**only, "exit_code": result.exit_code, "output": result.output}

    return run


def red(found: dict[str, Any]) -> set[str]:
    """Keys of the lines that are broken for certain."""
    return {line["metric"] for line in found["slo"] if line["verdict"] == "FAIL"}


def test_every_bug_is_in_the_table_and_differs_from_the_good_gateway_in_one_policy() -> None:
    planted = {name: one for name, one in vars(bugs).items() if isinstance(one, type(good))}
    assert planted.keys() == CAUGHT.keys()
    for name, bug in planted.items():
        ours, theirs = {*good.policies, *good.upstream}, {*bug.policies, *bug.upstream}
        assert len(ours - theirs) <= 1, name
        assert ours != theirs, name


def test_a_change_to_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the gateway has no hedge"):
        changed(hedge=None)


@pytest.mark.slow
@pytest.mark.parametrize("bug", CAUGHT)
def test_the_bug_is_caught_by_its_slo(bug: str, check: Check) -> None:
    scenario, metric, besides = CAUGHT[bug]
    found = check(scenario, f"tests.planted.bugs:{bug}")
    assert (found["verdict"], found["exit_code"]) == ("FAIL", 1), found["output"]
    assert metric in red(found), found["output"]
    assert red(found) <= {metric, *besides}, found["output"]


def test_all_that_is_written_otherwise_is_in_its_table() -> None:
    assert {name for name, one in vars(otherwise).items() if isinstance(one, type(good))} == OTHERWISE.keys()


#: The others have the same line of the same scenario as one of those above.
ITS_OWN_LINE = "cache_keyed_by_question"


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=[] if bug == ITS_OWN_LINE else [pytest.mark.long]) for bug in OTHERWISE]
)
def test_it_is_caught_however_it_is_written(bug: str, check: Check) -> None:
    scenario, metric = OTHERWISE[bug]
    found = check(scenario, f"tests.planted.otherwise:{bug}")
    assert (found["verdict"], found["exit_code"]) == ("FAIL", 1), found["output"]
    assert metric in red(found), found["output"]


# All of them, and not only with `-m long`: whatever a bug may break there, a good gateway could break unseen above.
@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted({scenario for scenario, _, _ in CAUGHT.values()}))
def test_the_good_gateway_passes_there(scenario: str, check: Check) -> None:
    found = check(scenario, "tests.planted.gateways:good")
    assert (found["verdict"], found["exit_code"]) == ("PASS", 0), found["output"]
