"""Real configurations (their facts, in few lines): each becomes a scenario that runs, and gives away no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.scenario.document import dotted
from llmsim.scenario.imports import import_gateway
from llmsim.scenario.load import parse_scenario, read_document

FILES = sorted((Path(__file__).parent / "files").iterdir())
#: Every key, address and header in the files has this in it.
SECRET = re.compile("do.not.print", re.IGNORECASE)


def test_the_files_are_there() -> None:
    assert len(FILES) >= 10
    assert all(SECRET.search(path.read_text()) for path in FILES if path.name not in QUIET)


#: Without a secret: addresses only, or nothing.
QUIET = ("portkey-breaker.json",)


@pytest.mark.matrix
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_becomes_a_scenario_that_runs(path: Path) -> None:
    imported = import_gateway(path.read_bytes(), path.name)
    scenario = parse_scenario(imported.scenario())
    kinds = [entry.kind for entry in (*imported.plan.policies, *imported.plan.upstream)]
    assert len(scenario.gateway.policies) + len(scenario.gateway.upstream) == len(kinds)
    result = ls.run(scenario, replications=1, overrides=["clock.duration=20s"])
    assert result.metrics["requests"] > 5
    assert result.metrics["error_rate"] < 0.6  # load_balancer.yaml allows 3 requests a minute at two of its three


@pytest.mark.matrix
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_is_printed(path: Path) -> None:
    imported = import_gateway(path.read_bytes(), path.name)
    printed = imported.scenario() + "\n".join(imported.notes)
    assert not SECRET.search(printed)
    assert "://" not in printed
    assert "os.environ" not in printed


#: Keys that become a name, and those of others that are spoken of with them.
NAMES = ("model_name", "model", "provider", "name", "default", "mode", "base_model", "id", "type", "then")
#: All that a configuration may say about one group, and a bit more.
EVERYTHING = """\
model_list:
  - model_name: chat
    litellm_params:
      model: gpt-4o
      rpm: 60
      tpm: 9000
      weight: 3
      order: 1
      timeout: 5
      stream_timeout: 6
      num_retries: 1
      max_retries: 4
      max_parallel_requests: 3
      cooldown_time: 9
      temperature: 0.5
      api_key: sk
  - model_name: other
    litellm_params:
      model: gpt-4o
      rpm: 7
litellm_settings:
  num_retries: 4
  request_timeout: 50
  fallbacks:
    - other: [chat]
  default_fallbacks: [other]
  cache: false
  cache_params:
    ttl: 7
  max_budget: 100
  allowed_fails: 9
router_settings:
  routing_strategy: least-busy
  routing_strategy_args:
    ttl: 3
  retry_after: 3
  num_retries: 3
  allowed_fails: 5
  cooldown_time: 8
  disable_cooldowns: true
  enable_pre_call_checks: true
  max_fallbacks: 3
  timeout: 20
  default_max_parallel_requests: 5
  model_group_alias:
    short: chat
  retry_policy:
    RateLimitErrorRetries: 5
  allowed_fails_policy:
    TimeoutErrorAllowedFails: 8
  enable_tag_filtering: true
  redis_host: somewhere
general_settings:
  master_key: sk
  max_parallel_requests: 9
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [*((path.name, path.read_text()) for path in FILES if path.suffix == ".yaml"), ("everything.yaml", EVERYTHING)],
    ids=lambda value: value if value.endswith(".yaml") else "",
)
def test_every_key_is_in_the_scenario_or_in_the_list(name: str, text: str) -> None:
    """By its line: what is written there is the origin of a setting, or is spoken of."""
    imported = import_gateway(text, name)
    document, _ = read_document(text, name)
    spoken = {int(n) for n in re.findall(r"line (\d+)|(?<=[(])(\d+)(?=[,)])|(?<=, )(\d+)(?=[,)])", imported.scenario())
              for n in n if n}  # fmt: skip
    printed, notes = imported.scenario(), "\n".join(imported.notes)
    silent = []
    for place, spot in document.places.items():
        if not place or isinstance(document.get(place), dict | list) or isinstance(place[-1], int):
            continue
        around = [place[:depth] for depth in range(1, len(place))]
        covered = any(
            f"{dotted(path)}." in notes or (document.places[path].key.line in spoken and str(path[-1]) in printed)
            for path in around
            if len(path) == 2 or path[0] not in ("litellm_settings", "router_settings")
        )
        if spot.key.line not in spoken and not covered and place[-1] not in NAMES:
            silent.append(f"{name}:{spot.key.line}: {dotted(place)}")
    assert not silent, "passed over in silence: " + ", ".join(silent)


def test_lines_are_those_of_the_file() -> None:
    path = next(path for path in FILES if path.name == "litellm-reliability.yaml")
    lines = path.read_text().splitlines()
    plan = import_gateway(path.read_bytes(), path.name).plan
    said = [said for entry in (*plan.policies, *plan.upstream) for said in entry.settings.values()]
    origins = [
        (int(n), key) for one in said for n, key in re.findall(r"line (\d+): [\w.\[\]]*?(\w+)(?=[;)]|$)", one.why)
    ]
    assert len(origins) >= 6
    for number, key in origins:
        assert key in lines[number - 1], f"line {number} does not say {key}"


def test_the_group_is_asked_then_its_fallback() -> None:
    """The documentation's order: retries within the group, on other deployments, then the other group."""
    path = next(path for path in FILES if path.name == "litellm-reliability.yaml")
    scenario = parse_scenario(import_gateway(path.read_bytes(), path.name).scenario())
    group = list(scenario.providers)[:3]
    errors = {f"providers.{name}.errors.server_error": 1.0 for name in group}
    result = ls.run(scenario.with_values({**errors, "clock.duration": 20.0}), replications=1)
    attempts = result.attempts.sort("start_s").group_by("request_id", maintain_order=True).agg("upstream")
    first = attempts["upstream"][0].to_list()
    assert sorted(first[:3]) == sorted(group), "a retry goes to a deployment that has not been asked"
    assert len(first) == 5, "num_retries: 3"
    assert first[4] == list(scenario.providers)[3]
    assert result.metrics["error_rate"] == 0
    assert result.metrics["fallback_rate"] == 1


# Which format it is


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", r"neither a LiteLLM config .* nor a Portkey config .*--format litellm or --format portkey"),
        ("model_list: []\ntargets: []", r"model_list as in litellm; targets as in portkey"),
        ("[1, 2]", "the file holds a list"),
        ("", "the file holds no keys"),
        ("a: [", "config.yaml:1:5: a value is missing"),
        ("model_list: []", "there are no deployments"),
        (b"\xff\xfe\x00", "UTF-8"),
        ("x" * 300_000, "300,000 bytes"),
        ("a: &a [1]\nb: &b [*a, *a]\n" + "".join(f"c{i}: &c{i} [*{'b' if not i else f'c{i - 1}'}, "
         f"*{'b' if not i else f'c{i - 1}'}]\n" for i in range(40)), "multiply"),
        ("model_list: !!python/object:os.system x", "needs a list|cannot"),
    ],
)  # fmt: skip
def test_what_is_no_configuration(text: str | bytes, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        import_gateway(text, "config.yaml")


def test_the_format_can_be_said() -> None:
    text = "model_list: [{model_name: a, litellm_params: {model: gpt-4o}}]\ncache: {mode: simple}"
    assert import_gateway(text, format="litellm").plan.format == "litellm"
    with pytest.raises(ScenarioError, match=r"there is no format 'litelm'. Did you mean litellm\?"):
        import_gateway(text, format="litelm")
    with pytest.raises(ScenarioError, match="no model groups"):
        import_gateway("provider: openai", model_group="a")


@pytest.mark.parametrize(
    "name", ["a\n- b: *x # {c", "'\"", "true", "1e3", "~", "ключ: 值", "x" * 300, "\u2028\x85", "a # b"]
)
def test_no_name_breaks_out_of_its_place(name: str) -> None:
    """Names of groups stand in comments and in values."""
    deployment = {"model_name": name, "litellm_params": {"model": "gpt-4o"}}
    other = {"model_name": f"{name}2", "litellm_params": {"model": "gpt-4o"}, name: {name: name}}
    text = json.dumps({"model_list": [deployment, deployment, other], "router_settings": {name: name}})
    imported = import_gateway(text, f"{name}.yaml")
    scenario = parse_scenario(imported.scenario())
    assert scenario.name == name
    assert len(scenario.providers) == 2
    assert all("\n" not in line for line in imported.notes)
