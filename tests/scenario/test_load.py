import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmsim.distributions import Constant, Gamma, Lognormal
from llmsim.errors import ScenarioError
from llmsim.gateway import registry
from llmsim.gateway.contract import policy
from llmsim.gateway.policies import Cache, Fallback, Retry
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.load import load_scenario, parse_scenario, read_document
from llmsim.scenario.objectives import objectives_of

SHIPPED = Path(__file__).parents[2] / "scenarios"


SCENARIO = """\
version: 1
clock: {duration: 8m}
traffic:
  base_rate: 240/min
  patience: {lognormal: {p50: 20s, p99: 90s}}
providers:
  openai: &hosted
    ttft: {gamma: {mean: 450ms, cv: 0.5}}
    rate_limit: {tokens: 4M/min}
    price: {input: $0.15/Mtok, output: $0.60/Mtok}
  azure: *hosted
  cheap:
    <<: *hosted
    price: {input: $0.05/Mtok}
gateway:
  policies:
    - cache
    - fallback: {order: [openai, azure], on: [429, 5xx, timeout]}
    - retry:
        backoff: {initial: 250ms, jitter: none}
faults:
  - {name: cut, provider: azure, at: 1m30s, break: {after_tokens: 5, percentage: 10%}}
steady_state: {error_rate: ["value < 0.5%"]}
slo:
  ttft: ["p(95) < 2s",
         "p(99) < 8s"]
  error_rate:
    - value < 1%
"""


def test_reads_every_kind_of_value() -> None:
    s = parse_scenario(SCENARIO)
    assert s.clock.duration == 480.0
    assert s.traffic.base_rate == 4.0
    assert s.traffic.patience == Lognormal(p50=20.0, p99=90.0)
    openai, azure, cheap = s.providers["openai"], s.providers["azure"], s.providers["cheap"]
    assert openai.ttft == Gamma(mean=0.45, cv=0.5)
    assert openai.rate_limit is not None
    assert openai.rate_limit.tokens == pytest.approx(4e6 / 60)
    assert openai.price.output == pytest.approx(0.6e-6)
    assert azure == openai
    assert cheap.ttft == openai.ttft
    assert (cheap.price.input, cheap.price.output) == (pytest.approx(0.05e-6), 0.0)
    cache, fallback, retry = s.gateway.policies
    assert cache == Cache()
    assert fallback == Fallback(order=("openai", "azure"), on=(429, "5xx", "timeout"))
    assert isinstance(retry, Retry)
    assert (retry.backoff.initial, retry.backoff.jitter) == (0.25, "none")
    assert s.faults[0].effects == ("break",)
    assert s.faults[0].at == 90.0


def test_what_is_read_a_second_time_is_as_it_was_the_first() -> None:
    one, _ = read_document(SCENARIO, "one.yaml")
    one.data["traffic"]["base_rate"] = one.data["gateway"]["policies"] = "changed"
    other, problems = read_document(SCENARIO, "other.yaml")
    assert other.data["traffic"]["base_rate"] == "240/min"
    assert other.data["gateway"]["policies"][0] == "cache"
    assert (one.source, other.source, problems) == ("one.yaml", "other.yaml", [])
    again = SCENARIO.replace("openai: &hosted", "openai: &hosted\n    colour: 2001-01-01")
    first, second = (read_document(again)[1] for _ in range(2))
    assert first == second != []


def test_objectives_know_their_lines() -> None:
    s = parse_scenario(SCENARIO)
    assert [(o.text, o.line) for o in objectives_of(s)] == [("p(95) < 2s", 25), ("p(99) < 8s", 26), ("value < 1%", 28)]
    changed = s.with_values({"slo.ttft": ["p(95) < 3s", "p(99) < 8s"]})
    assert [o.line for o in objectives_of(changed)] == [None, 26, 28]
    assert objectives_of(s, "steady_state")[0].bound == 0.005


def test_equal_whatever_it_was_read_from(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("\ufeff# a comment\n" + SCENARIO, encoding="utf-8")
    assert load_scenario(path) == load_scenario(str(path)) == parse_scenario(SCENARIO)
    assert "places" not in repr(load_scenario(path))


def test_a_mapping_with_policies_of_ones_own() -> None:
    @policy
    async def mine(request, call_next):
        return await call_next(request)

    base = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {"ttft": Constant(0.3)}}}
    s = load_scenario({**base, "gateway": {"policies": [mine, Retry(max_attempts=2), {"cache": None}]}})
    assert s.gateway.policies == (mine, Retry(max_attempts=2), Cache())
    assert s.providers["a"].ttft == Constant(0.3)
    with pytest.raises(ScenarioError, match=r"^scenario: gateway.policies\[0\]: needs a policy, not 3"):
        load_scenario({**base, "gateway": {"policies": [3]}})


def test_a_policy_class_of_ones_own_is_checked_like_a_built_in_one(monkeypatch) -> None:
    policy_kinds()
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))

    @policy
    @dataclass(frozen=True, kw_only=True)
    class LoadTestShedder:
        limit: int = 5

        def __post_init__(self) -> None:
            if self.limit == 13:
                raise RuntimeError("unlucky")

        def start(self, run):
            raise NotImplementedError

    text = SCENARIO.replace("    - cache\n", "    - load_test_shedder: {SETTINGS}\n")
    assert parse_scenario(text.replace("SETTINGS", "limit: 7")).gateway.policies[0] == LoadTestShedder(limit=7)
    for settings, message in [
        ("limt: 7", "unknown key 'limt'. Did you mean 'limit'?"),
        ("limit: many", "needs a whole number, not 'many'"),
        ("limit: 13", "refuses these settings: RuntimeError: unlucky"),
    ]:
        with pytest.raises(ScenarioError) as caught:
            parse_scenario(text.replace("SETTINGS", settings))
        assert message in str(caught.value)
        assert caught.value.problems[0].line == 17


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hacker-news-spik.yaml", "there is no such file. Did you mean"),
        ("nothing/like/it.yaml", "there is no such file"),
        (".", "this is a directory"),
        ("a\0b", "cannot be read"),
    ],
)
def test_paths_that_are_no_files(path: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(SHIPPED / path)


@pytest.mark.slow
def test_specs_and_objectives_do_not_need_the_heavy_libraries() -> None:
    code = (
        "import sys, llmsim.scenario.spec, llmsim.scenario.objectives, llmsim.gateway.registry as r; r.policy_kinds();"
        "sys.exit([m for m in ('pydantic', 'ruamel.yaml', 'scipy', 'polars') if m in sys.modules] != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(120))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    text = list((SHIPPED / "hacker-news-spike.yaml").read_text() if seed % 3 == 0 else SCENARIO)
    alphabet = "{}[]:,-&*!|>'\"%@`#?\t\n \0é=<~0129.xsm/$\\"
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(text))
        action = rng.random()
        if action < 0.4:
            text[at] = rng.choice(alphabet)
        elif action < 0.7:
            text[at:at] = rng.choices(alphabet, k=rng.randint(1, 4))
        else:
            del text[at : at + rng.randint(1, 30)]
    try:
        parse_scenario("".join(text), "damaged.yaml")
    except ScenarioError as error:
        assert all(problem.line and problem.column for problem in error.problems)
        assert str(error).startswith("damaged.yaml:")


def test_a_wholly_wrong_file_is_not_recited() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario("version: 1\n" + "".join(f"key{number}: 1\n" for number in range(500)))
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].message == "and 402 more"


@pytest.mark.parametrize(
    ("effect", "says"),
    [
        ("capacity: {multiplier: 0.5x}", "provider 'openai' has no concurrency for this fault to change"),
        ("rate_limit: {multiplier: 0.5x}", "provider 'openai' has no rate_limit for this fault to change"),
    ],
)
def test_a_fault_that_would_change_nothing_is_refused(effect, says):
    text = f"""
version: 1
traffic: {{base_rate: 4/s}}
providers: {{openai: {{}}}}
faults: [{{name: cut, provider: openai, {effect}}}]
"""
    with pytest.raises(ScenarioError, match=says):
        parse_scenario(text)


def test_a_capacity_of_nothing_stops_even_a_provider_without_slots():
    text = """
version: 1
traffic: {base_rate: 4/s}
providers: {openai: {}}
faults: [{name: stop, provider: openai, capacity: {multiplier: 0x}}]
"""
    assert parse_scenario(text).faults[0].capacity is not None


@pytest.mark.parametrize(
    ("traffic", "says"),
    [
        ("{executor: constant-vus, vus: 3, base_rate: 4/s}", "constant-vus has no base_rate"),
        ("{base_rate: 4/s, vus: 3}", "has no vus"),
    ],
)
def test_settings_of_another_executor_are_refused(traffic, says):
    with pytest.raises(ScenarioError, match=says):
        parse_scenario(f"version: 1\ntraffic: {traffic}\nproviders: {{openai: {{}}}}\n")


@pytest.mark.parametrize("path", ["policies", "upstream"])
@pytest.mark.parametrize("value", [0.5, 7, True, "retry", {"retry": {}}, [0.5], [[]], [None]], ids=repr)
def test_what_is_no_list_of_policies_is_refused(path, value):
    """Every check looks at whatever could be read, so it has to bear what is there."""
    given = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}, "gateway": {path: value}}
    with pytest.raises(ScenarioError):
        load_scenario(given)
