import pytest

from llmsim.errors import ScenarioError
from llmsim.gateway.contract import policy
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.values import from_values, to_values

TEXT = """\
version: 1
clock: {duration: 8m}
traffic:
  executor: ramping-arrival-rate
  base_rate: 4/s
  stages: [{duration: 2m, target: 1x}, {duration: 10s, target: 10x}]
  mix:
    - {route: chat, weight: 80%}
    - {route: rag, weight: 20%}
providers:
  openai: {rate_limit: {requests: 5/s}}
  gpt-4.1: {ttft: {gamma: {mean: 1s, cv: 0.5}}}
gateway:
  policies:
    - cache
    - fallback: {order: [openai, gpt-4.1]}
    - retry: {max_attempts: 3}
    - retry: {name: sdk, max_attempts: 3}
  upstream:
    - timeout: {ttft: 5s}
faults:
  - {name: brown-out, provider: openai, at: 2m, duration: 90s, break: {after_tokens: 5}}
slo:
  "ttft{route:chat}": ["p(95) < 2s"]
"""


def scenario(*overrides: str):
    return parse_scenario(TEXT, "s.yaml", overrides)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("override", "get", "expected"),
    [
        ("gateway.retry.max_attempts=5", lambda s: [p.max_attempts for p in s.gateway.policies[2:]], [5, 3]),
        ("gateway.sdk.max_attempts=2", lambda s: [p.max_attempts for p in s.gateway.policies[2:]], [3, 2]),
        ("gateway.policies.3.retry.max_attempts=2", lambda s: s.gateway.policies[3].max_attempts, 2),
        ("gateway.retry.backoff.initial=250ms", lambda s: s.gateway.policies[2].backoff.initial, 0.25),
        ("gateway.retry.on=[429, 5xx]", lambda s: s.gateway.policies[2].on, (429, "5xx")),
        ("gateway.cache.ttl=5m", lambda s: s.gateway.policies[0].ttl, 300.0),
        ("gateway.policies[0].cache.ttl=5m", lambda s: s.gateway.policies[0].ttl, 300.0),
        ("gateway.policies=[cache]", lambda s: len(s.gateway.policies), 1),
        ("gateway.replicas=3", lambda s: s.gateway.replicas, 3),
        ("upstream.timeout.ttft=3s", lambda s: s.gateway.upstream[0].ttft, 3.0),
        ("gateway.upstream.timeout.total=9s", lambda s: s.gateway.upstream[0].total, 9.0),
        ("traffic.base_rate=8/s", lambda s: s.traffic.base_rate, 8.0),
        ("traffic.mix.rag.weight=50%", lambda s: s.traffic.mix[1].weight, 0.5),
        ("traffic.stages.1.target=20x", lambda s: s.traffic.stages[1].target, 20.0),
        ("traffic.patience.lognormal={p50: 5s, p99: 20s}", lambda s: s.traffic.patience.p50, 5.0),
        ("providers.openai.rate_limit.requests=120/min", lambda s: s.providers["openai"].rate_limit.requests, 2.0),
        ("providers.openai.price.input=$3/Mtok", lambda s: s.providers["openai"].price.input, 3e-6),
        ("providers.gpt-4.1.concurrency=3", lambda s: s.providers["gpt-4.1"].concurrency, 3),
        ("providers.gpt-4.1.ttft.gamma.cv=1", lambda s: s.providers["gpt-4.1"].ttft.cv, 1.0),
        ("faults.brown-out.duration=30s", lambda s: s.faults[0].duration, 30.0),
        ("faults[0].break.after_tokens=7", lambda s: s.faults[0].break_.after_tokens, 7),
        ("faults=[]", lambda s: s.faults, ()),
        ('slo.ttft{route:chat}=["p(99) < 3s"]', lambda s: s.slo, {"ttft{route:chat}": ("p(99) < 3s",)}),
        ("slo.error_rate=[value < 1%]", lambda s: s.slo["error_rate"], ("value < 1%",)),
        ("seed=9", lambda s: s.seed, 9),
        (" name = quick look ", lambda s: s.name, "quick look"),
    ],
)
def test_sets(override, get, expected) -> None:
    assert get(scenario(override)) == expected


def test_several_are_applied_before_anything_is_checked() -> None:
    s = scenario(
        "traffic.executor=constant-arrival-rate", "traffic.stages=[]", "clock.duration=10m", "clock.duration=9m"
    )
    assert (s.traffic.stages, s.clock.duration) == ((), 540.0)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gateway.retri.max_attempts=5", "gateway.policies has no policy 'retri'. Did you mean 'retry'?"),
        (
            "gateway.retry.max_attemps=5",
            "gateway.retry.max_attemps: unknown key 'max_attemps'. Did you mean 'max_attempts'?",
        ),
        (
            "gateway.circuit_breaker.failure_rate=1",
            "has no policy 'circuit_breaker'. Known: cache, fallback, retry, sdk.",
        ),
        ("upstream.cache.ttl=1s", "has no upstream policy 'cache'. It is in the other scope: gateway.cache."),
        ("upstream.hedge.delay=1s", "has no upstream policy 'hedge'. Known: timeout."),
        ("gateway.timeout.ttft=1s", "has no policy 'timeout'. It is in the other scope: upstream.timeout."),
        ("gateway.policies.7.retry.max_attempts=1", "gateway.policies has 4 items. Indices go from 0 to 3."),
        ("nope=1", "nope: unknown key 'nope'. Known: version, "),
        ("traffic.base_rat=1", "traffic.base_rat: unknown key 'base_rat'. Did you mean 'base_rate'?"),
        ("traffic.base_rate=4", "traffic.base_rate: 4 is not a rate. Write it like 40/s or 5000/min."),
        ("traffic.base_rate.x=4", "traffic.base_rate is '4/s', which has no parts. Set traffic.base_rate as a whole."),
        ("traffic.mix.caht.weight=1", "traffic.mix has no route 'caht'. Did you mean 'chat'?"),
        ("providers.opnai.ttft=1s", "there is no provider 'opnai'. Did you mean 'openai'?"),
        ("faults.brownout.at=1s", "faults has no fault 'brownout'. Did you mean 'brown-out'?"),
        ("gateway.fallback.order=[openai, nope]", "gateway.fallback.order[1]: there is no provider 'nope'."),
        ("clock.duration=1m", "faults[0].at: this fault starts at 2m, when the run of 1m is over (s.yaml:22)."),
        ("traffic.executor=constant-arrival-rate", "has no stages (s.yaml:6). Write executor: ramping-arrival-rate"),
        ("slo.ttfb=[p(95) < 2s]", "slo.ttfb: unknown metric 'ttfb'. Did you mean 'ttft'?"),
        ("seed=", "seed: no value is given."),
        ("gateway.retry.max_attempts=[", "gateway.retry.max_attempts: "),
        ("gateway.retry.max_attempts", "'gateway.retry.max_attempts' is not path=value. Write it like"),
        ("=5", "'=5' is not path=value"),
        ("a..b=5", "'a..b' is no path."),
        ("gateway.retry.on=!!python/name:os.system x", "is not allowed"),
    ],
)
def test_says_what_to_type_instead(override: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario(override)
    assert caught.value.source == "--set"
    assert str(caught.value).startswith("--set: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "kinds"),
    [
        (["gateway.cache=off"], ["fallback", "retry", "retry", "timeout"]),
        (["gateway.sdk=off", "gateway.fallback=false"], ["cache", "retry", "timeout"]),
        (["gateway.policies.1=off"], ["cache", "retry", "retry", "timeout"]),
        (["gateway.policies.0=off", "gateway.policies.1=off"], ["retry", "retry", "timeout"]),
        (["gateway.cache=off", "gateway.policies.0=off"], ["fallback", "retry", "retry", "timeout"]),
        (["upstream.timeout=off"], ["cache", "fallback", "retry", "retry"]),
    ],
)
def test_a_whole_policy_can_be_off(overrides: list[str], kinds: list[str]) -> None:
    gateway = scenario(*overrides).gateway
    assert [spec.kind for spec in (*gateway.policies, *gateway.upstream)] == kinds


def test_a_fault_can_be_off_and_what_comes_after_is_found() -> None:
    assert scenario("faults.brown-out=off").faults == ()
    found = scenario("gateway.sdk.max_attempts=5", "gateway.cache=off")
    assert [getattr(spec, "max_attempts", 0) for spec in found.gateway.policies] == [0, 3, 5]
    assert scenario("gateway.policies.3.retry.max_attempts=5", "gateway.cache=off").gateway == found.gateway


def test_a_mistake_behind_a_policy_that_is_off_is_told_by_its_path() -> None:
    with pytest.raises(ScenarioError, match=r"gateway\.sdk\.max_attempts: 0 is out of range"):
        scenario("gateway.cache=off", "gateway.sdk.max_attempts=0")
    with pytest.raises(ScenarioError, match=r"gateway\.policies\.3\.retry\.max_attempts: 0 is out of range"):
        scenario("gateway.cache=off", "gateway.policies.3.retry.max_attempts=0")
    with pytest.raises(ScenarioError, match=r"gateway\.policies\[0\] is off, which has no parts"):
        scenario("gateway.cache=off", "gateway.policies.0.cache.ttl=5s")
    with pytest.raises(ScenarioError, match=r"gateway\.sdk\.max_attempts.*has no policy 'sdk'"):
        scenario("gateway.sdk=off", "gateway.sdk.max_attempts=5")


def test_all_wrong_overrides_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario("gateway.retri.max_attempts=5", "providers.opnai.ttft=1s", "x")
    assert len(caught.value.problems) == 3


def test_a_wrong_file_is_reported_before_overrides() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(TEXT.replace("4/s", "4"), "s.yaml", ["seed=9"])
    assert caught.value.source == "s.yaml"


def test_a_name_that_stands_twice_needs_an_index() -> None:
    text = TEXT.replace("route: rag", "route: chat")
    with pytest.raises(ScenarioError, match=r"'chat' stands 2 times in traffic.mix. Use its index"):
        parse_scenario(text, "s.yaml", ["traffic.mix.chat.weight=1"])
    assert parse_scenario(text, "s.yaml", ["traffic.mix.1.weight=100%"]).traffic.mix[1].weight == 1.0


def test_values_from_python_are_si_and_leave_the_original_alone() -> None:
    s = scenario()
    changed = s.with_values(
        {
            "gateway.retry.max_attempts": 5,
            "gateway.retry.backoff.initial": 0.25,
            "clock.duration": 130.0,
            "providers.openai.ttft": {"lognormal": {"p50": 0.3, "p99": 2.0}},
            "upstream.timeout.ttft": "2500ms",
            "traffic.base_rate": 8,
            "faults.brown-out.at": 60,
        }
    )
    assert changed.gateway.policies[2].max_attempts == 5
    assert changed.gateway.policies[2].backoff.initial == 0.25
    assert changed.clock.duration == 130.0
    assert changed.providers["openai"].ttft.p99 == 2.0
    assert changed.gateway.upstream[0].ttft == 2.5
    assert changed.traffic.base_rate == 8.0
    assert changed.faults[0].at == 60.0
    assert s == scenario()
    assert s.with_values({}) == s


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("clock.duraton", 60.0, "clock.duraton: unknown key 'duraton'. Did you mean 'duration'?"),
        ("clock.duration", 60.0, "starts at 2m, when the run of 1m is over"),
        ("clock.duration", float("inf"), "A duration must be finite."),
        ("gateway.retry.max_attempts", 0, "0 is out of range"),
        ("gateway.retry.max_attempts", 2.5, "it must be a whole number"),
        ("gateway.hedge.delay", 1.0, "has no policy 'hedge'"),
    ],
)
def test_python_values_are_checked(path: str, value: float, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario().with_values({path: value})
    assert message.casefold() in str(caught.value).casefold()


def test_a_scenario_survives_becoming_values() -> None:
    s = scenario()
    assert from_values(to_values(s)) == s


def test_policies_from_python_survive_with_values() -> None:
    @policy
    async def mine(request, call_next):
        return await call_next(request)

    async def whole(request, providers):
        return await providers["openai"].send(request)

    s = scenario()
    listed = s.with_gateway([mine, *s.gateway.policies]).with_values({"gateway.retry.max_attempts": 4})
    assert listed.gateway.policies[0] is mine
    assert listed.gateway.policies[3].max_attempts == 4
    assert s.with_gateway(whole).with_values({"seed": 3}).gateway.entry is whole


def test_overrides_work_on_mappings() -> None:
    base = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}}
    assert load_scenario(base, ["seed=4", "providers.a.concurrency=2"]).providers["a"].concurrency == 2
    assert base["providers"] == {"a": {}}
