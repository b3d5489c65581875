"""What constructors say to a value of the wrong kind: which number, or what else, to write in Python."""

import dataclasses
from functools import partial
from types import UnionType
from typing import Union, get_args, get_origin

import numpy as np
import pytest

import llmsim as ls
from llmsim.constructors import checked_values, number_given
from llmsim.errors import PolicyError
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.keys import keys_of
from llmsim.scenario.live_file import load_live
from llmsim.units import DURATION, PositiveDuration, Unit

P = ls.policies
NAN = float("nan")
OURS = [cls for cls in policy_kinds().values() if cls.__module__.startswith("llmsim.")]
PARTS = [P.Backoff, P.WaitingLine, P.Pace, P.ShedLevel, P.RetryRule, P.ActiveBudget, P.Quota]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (partial(ls.Timeout, ttft="5s"), TypeError, r"Timeout\(ttft='5s'\): .* a number of seconds; write ttft=5\.0$"),
        (partial(ls.Timeout, ttft="5"), TypeError, r"write ttft=5\.0$"),
        (partial(ls.Timeout, ttft="soon"), TypeError, r"write it like ttft=0\.25$"),
        (partial(ls.Timeout, ttft=True), TypeError, "a number of seconds"),
        (partial(ls.Timeout, ttft=-1.0), ValueError, "must be above 0"),
        (partial(ls.Timeout, ttft=float("inf")), ValueError, "Timeout ttft: inf is out of range"),
        (partial(ls.Deadline, "30s"), TypeError, r"write timeout=30\.0$"),
        (partial(ls.Cache, ttl="1h"), TypeError, r"write ttl=3600\.0$"),
        (partial(ls.CircuitBreaker, failure_rate="30%"), TypeError, r"from 0 to 1; write failure_rate=0\.3$"),
        (partial(ls.CircuitBreaker, failure_rate=30), ValueError, r"write failure_rate=0\.3 for 30%$"),
        (partial(ls.CircuitBreaker, failure_rate=NAN), ValueError, "a number from 0 to 1"),
        (partial(ls.CircuitBreaker, slow_call_by="ttf"), ValueError, "ttft"),
        (partial(ls.Retry, max_attempts="3"), TypeError, "a whole number; write max_attempts=3$"),
        (partial(ls.Retry, max_attempts=3.0), TypeError, "a whole number; write max_attempts=3$"),
        (partial(ls.Retry, max_attempts=NAN), TypeError, "a whole number; write it like max_attempts=3$"),
        (partial(ls.Retry, honor_retry_after="yes"), TypeError, "write honor_retry_after=True or"),
        (partial(ls.Retry, on="timeout"), ValueError, r"write on=\('timeout',\)$"),
        (partial(ls.Retry, on=429), TypeError, r"write on=\(429,\)$"),
        (partial(ls.Retry, backoff=1.0), TypeError, r"takes a Backoff; write backoff=Backoff\(…\)$"),
        (partial(ls.Retry, backoff={"initial": 2}), TypeError, r"write backoff=Backoff\(initial=2\)$"),
        (partial(ls.Fallback, order=("a", 1)), TypeError, r"Fallback\(order\[1\]=1\): this takes a text"),
        (partial(P.Backoff, initial="1s"), TypeError, r"write initial=1\.0$"),
        (partial(P.RateLimit, requests="120/min"), TypeError, r"a number per second; write requests=2\.0$"),
        (partial(P.Budget, limit="$5"), TypeError, r"a number of USD; write limit=5\.0$"),
        (partial(P.WaitingRoom, rate=1.0, patience={"vip": "30s"}), TypeError, r"patience\['vip'\].*=30\.0$"),
        (partial(ls.Gateway, ls.Retry()), TypeError, r"policies=Retry\(…\)\): .* write policies=\(Retry\(…\),\)$"),
        (partial(ls.Gateway, upstream=ls.Timeout(ttft=1.0)), TypeError, r"write upstream=\(Timeout\(…\),\)$"),
        (partial(P.StructuredOutput, temperature="0.2"), TypeError, "this takes a number$"),
        (partial(ls.Gateway, replicas="3"), TypeError, "write replicas=3$"),
        (partial(ls.Gateway, balancer="round-robin"), ValueError, "did you mean 'round_robin'"),
        (partial(ls.Gateway, (ls.Retry,)), PolicyError, r"write Retry\(\)"),
        (partial(ls.Gateway, ("retry",)), PolicyError, "'retry' is no policy"),
    ],
)  # fmt: skip
def test_says_what_to_write(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize("cls", [*OURS, *PARTS], ids=lambda cls: cls.__name__)
def test_no_quantity_of_any_policy_takes_a_text(cls):
    """For each of its fields: a text a scenario file understands gets the number in return, never a comparison."""
    measured = 0
    for key, hint in keys_of(cls).items():
        of_none = isinstance(hint, UnionType) or get_origin(hint) is Union
        whole = next((one for one in get_args(hint) if hasattr(one, "__metadata__")), hint) if of_none else hint
        if any(isinstance(one, Unit) for one in getattr(whole, "__metadata__", ())):
            measured += 1
            with pytest.raises(TypeError, match=rf"^{cls.__name__}\({key}='x'\): in Python .* write it like {key}=\d"):
                cls(**{key: "x"})
    assert measured or cls.__name__ in ("SingleFlight", "RetryRule")


def test_numbers_of_any_kind_are_numbers():
    assert ls.Timeout(ttft=np.float32(2.0), total=np.int64(5)) == ls.Timeout(ttft=2.0, total=5.0)
    assert ls.Retry(max_attempts=np.int64(2)).max_attempts == 2


def test_a_gateway_of_a_list_is_that_of_a_tuple():
    assert hash(ls.Gateway([ls.Retry()])) == hash(ls.Gateway((ls.Retry(),)))


def test_a_class_with_own_fields_of_the_same_name_is_left_alone():
    @checked_values
    @dataclasses.dataclass(frozen=True)
    class Limit:
        after: PositiveDuration

    class Words(Limit):
        def __init__(self, after):
            super().__init__(after)

    assert Words("soon").after == "soon"
    with pytest.raises(TypeError, match="write it like after="):
        Limit("soon")


def test_an_argument_of_a_function():
    number_given(None, DURATION, "f", "wait_s", optional=True)
    number_given(1, DURATION, "f", "wait_s")
    with pytest.raises(TypeError, match=r"f\(wait_s='2m'\): .* write wait_s=120\.0"):
        number_given("2m", DURATION, "f", "wait_s")
    with pytest.raises(ValueError, match="f wait_s: -1 is out of range"):
        number_given(-1, DURATION, "f", "wait_s")


def chat(**fields):
    return ls.OpenAIChat("primary", base_url="https://api.openai.com/v1", **{"model": "gpt-4o-mini", **fields})


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (partial(chat, connect_timeout_s="10s"), TypeError, r"OpenAIChat\(.*write connect_timeout_s=10\.0$"),
        (partial(chat, keep_alive_s=-1.0), ValueError, "keep_alive_s: -1.0 is out of range"),
        (partial(chat, context_window="128k"), TypeError, "write context_window=128000$"),
        (partial(chat, price="gpt-4o-mini"), TypeError, "price is a TokenPrice"),
        (partial(ls.run, {}, replications="20"), TypeError, r"run\(.*write replications=20$"),
        (partial(ls.run, {}, seed=1.5), TypeError, r"run\(seed=1\.5\): .* a whole number"),
        (partial(ls.run, {}, jobs="2"), TypeError, "write jobs=2$"),
        (partial(ls.tune, {}, trials="20"), TypeError, "write trials=20$"),
        (partial(ls.load, 7), TypeError, "a file name, a mapping or a Scenario, not a int"),
    ],
)
def test_functions_say_it_too(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_key_in_place_of_its_name_is_refused_and_not_repeated():
    secret = "sk-0123456789abcdef"
    with pytest.raises(ValueError, match="the name of an environment variable") as caught:
        chat(api_key_env=secret)
    assert secret not in str(caught.value)
    provider = {"api": "openai-chat", "base_url": "https://api.openai.com/v1", "key_env": secret}
    with pytest.raises(ls.ScenarioError, match="the name of an environment variable") as caught:
        load_live({"version": 1, "providers": {"openai": provider}})
    assert secret not in str(caught.value)


def test_a_policy_of_a_notebook_or_script_goes_to_workers_code_and_all() -> None:
    import cloudpickle

    @dataclasses.dataclass(frozen=True)
    class Mine:
        at_once: int = 2

    Mine.__module__ = "__main__"  # what is there is packed by value
    there = cloudpickle.loads(cloudpickle.dumps(checked_values(Mine)(3)))
    assert there.at_once == 3
    with pytest.raises(TypeError, match="takes a number"):
        type(there)("three")
