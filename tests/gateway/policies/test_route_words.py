"""Routes: what is wrong says what to type, and what sticking to one place is worth."""

import pytest
from gateway.policies.test_route import through, toys

from llmsim.errors import PolicyError
from llmsim.gateway.policies import Routing


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"strategy": "best"}, "unknown strategy 'best'; write one of ordered"),
        ({"to": "a"}, r"write to=\('a',\)"),
        ({"to": ()}, "to is empty"),
        ({"to": ("a", "a")}, "names 'a' twice"),
        ({"weights": {"a": 0}}, "not be negative, nor all 0"),
        ({"to": ("a",), "weights": {"b": 1}}, "weights names 'b', which is not in to: a"),
        ({"strategy": "cost", "weights": {"a": 1}}, "weights has no effect with strategy: cost; it is for weighted"),
        ({"strategy": "p2c", "decay": 3.0}, "write over: peak_ewma"),
        ({"strategy": "latency", "window": 3.0}, "write quantile: 50% beside it"),
        ({"strategy": "latency", "quantile": 0.5, "decay": 3.0}, "write window: 1m instead"),
        ({"strategy": "latency", "explore": 1.5}, "0% to 100%"),
        ({"strategy": "quota", "headroom": 1.0}, "leaves nothing"),
        ({"strategy": "priority", "groups": (("a",),), "to": ("a",)}, "leave to: out"),
        ({"strategy": "priority", "groups": (("a",), ("a",))}, "groups names 'a' twice"),
        ({"strategy": "priority", "full_at": 0}, "at least 1"),
        ({"strategy": "sticky", "bound": 0.5}, "at least 1x"),
        ({"strategy": "peak_ewma", "decay": 0.0}, "above 0"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Routing(**fields)


def test_an_unknown_upstream_is_found_at_the_start():
    with pytest.raises(PolicyError, match="unknown upstream 'bb' in groups; did you mean 'b'"):
        through([Routing(strategy="priority", groups=(("a",), ("bb",)))], *toys(0.0, 0.0))


@pytest.mark.parametrize("key", ["session", pytest.param("prefix", marks=pytest.mark.slow)])
def test_sticky_keeps_the_prompt_caches_of_providers_warm(key):
    """Three upstreams with a prompt cache each, chats of several turns: what is billed as cached."""
    import llmsim as ls

    def cached_share(route):
        provider = {
            "ttft": "200ms",
            "prompt_cache": {"prefix": "session", "min_tokens": 100, "ttl": "5m"},
        }
        scenario = {
            "version": 1,
            "clock": {"duration": "30s", "drain": "60s"},
            "traffic": {
                "base_rate": "1/s",
                "mix": [{"input_tokens": 400, "output_tokens": 20, "session": {"turns": 6, "think_time": "1s"}}],
            },
            "providers": dict.fromkeys(("a", "b", "c"), provider),
            "gateway": {"policies": [{"route": route}]},
        }
        attempts = ls.run(scenario, replications=1).attempts
        return attempts["cached_input_tokens"].sum() / attempts["input_tokens"].sum()

    chance = cached_share({"strategy": "weighted"})
    kept = cached_share({"strategy": "sticky", "key": key, "bound": "100x"})
    print(key, chance, kept)
    assert kept > chance + 0.2
