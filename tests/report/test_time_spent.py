"""Where the time of a run went: the part that burns it is named, and by its share."""

from __future__ import annotations

from typing import Any

import pytest

import llmsim as ls
from llmsim.engine.sampler import Place
from llmsim.report.time_spent import TimeSpent

SCENARIO: dict[str, Any] = {
    "version": 1,
    "name": "burning",
    "replications": 1,
    "clock": {"duration": "30s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms"}},
}
HOME = __file__
STEPS = 30_000  #: about a millisecond
LOOKS = 100  #: of which a share of three quarters has a standard error of 4.3 %


@ls.policy
async def burns_three(request: ls.Request, call_next: Any) -> ls.Response:
    for _ in range(3 * STEPS):
        pass
    return await call_next(request)


@ls.policy
async def burns_one(request: ls.Request, call_next: Any) -> ls.Response:
    for _ in range(STEPS):
        pass
    return await call_next(request)


@pytest.mark.clock
def test_what_burns_time_is_named_with_its_share() -> None:
    scenario = ls.load(SCENARIO).with_gateway(ls.Gateway(policies=(burns_three, burns_one)))
    plain = ls.run(scenario)
    assert plain.time_spent is None
    # 600 ms of 600 and a little: about 120 looks, of which the two parts have three quarters and one (with a standard
    # error of 4 %). A busy machine has time for fewer in a run, and gets more runs.
    of_three = of_both = looks = 0
    while of_both < LOOKS:
        result = ls.run(scenario, profile=True)
        assert result.event_hash == plain.event_hash
        spent = result.time_spent
        assert spent is not None
        assert sum(part.looks for part in spent.parts) == spent.looks
        parts = {one.name: one for one in spent.parts}
        three, one = parts["your code: burns_three"], parts["your code: burns_one"]
        assert three.hottest.startswith("test_time_spent.py:")
        of_three, of_both, looks = of_three + three.looks, of_both + three.looks + one.looks, looks + spent.looks
    assert abs(of_three / of_both - 0.75) < 0.15
    assert of_both / looks > 0.6
    assert "your code: burns_three" in str(spent)
    assert "<table" in spent._repr_html_()


def test_several_processes_are_refused() -> None:
    with pytest.raises(ls.ScenarioError, match="leave one out"):
        ls.run({**SCENARIO, "replications": 2}, jobs=2, profile=True)


def place(file: str, function: str = "f", owner: str = "") -> Place:
    from pathlib import Path

    inside = Path(ls.__file__).parent / file
    return Place(file if file.startswith(("/", "<")) else str(inside), function, 1, owner)


LOOP = (place("engine/loop.py"), place("api.py"))


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ((place("luck.py"), place("providers/sim/draws.py", owner=""), place("providers/sim/call.py", owner="a")),
         "provider a"),
        ((place("providers/sim/gaps.py"),), "providers"),
        ((place("algorithms/backoff.py"), place("gateway/policies/retry.py")), "policy retry"),
        ((place("gateway/policies/_race.py"), place("gateway/policies/hedge.py")), "policy hedge"),
        ((place("gateway/policies/_race.py"),), "what policies share"),
        ((place("gateway/policies/marks.py"), place("gateway/policies/retry.py")), "policy retry"),
        ((place("gateway/pipeline.py"), place("gateway/policies/retry.py")), "the pipeline"),
        ((place("<string>"), place(HOME, "mine")), "your code: mine"),
        ((), "the loop"),
        ((place("telemetry/recorder.py"),), "recording"),
    ],
)  # fmt: skip
def test_a_look_belongs_to_the_innermost_part(stack: tuple[Place, ...], name: str) -> None:
    (part,) = TimeSpent.of({stack + LOOP: 4}, 1.0).parts
    assert (part.name, part.looks, part.share, part.margin) == (name, 4, 1.0, 0.0)
