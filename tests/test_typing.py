"""What a user's own script looks like to ``mypy --strict``."""

import typing
from pathlib import Path

import pytest

import llmsim as ls

ROOT = Path(__file__).parents[1]

SCRIPT = """
import asyncio
from typing import assert_type

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import llmsim as ls
from llmsim.gateway.contract import FunctionPolicy, Handler
from llmsim.types import CallNext


@ls.policy
async def local_first(request: ls.Request, call_next: CallNext) -> ls.Response:
    return await call_next(request.to("local"))


@ls.policy
class Turnstile:
    at_once: int = 100

    def start(self, run: ls.Run) -> Handler:
        slots = asyncio.Semaphore(self.at_once)

        async def handle(request: ls.Request, call_next: CallNext) -> ls.Response:
            async with slots:
                return await call_next(request)

        return handle


assert_type(local_first, FunctionPolicy)
assert_type(Turnstile(at_once=3), Turnstile)
gateway = ls.Gateway(policies=(ls.Cache(), local_first, Turnstile(at_once=3)), upstream=(ls.Timeout(ttft=1.5),))
result = ls.run(ls.load("scenario.yaml").with_gateway(gateway), replications=2)
assert_type(result, ls.Result)
assert_type(result.requests, pl.DataFrame)
assert_type(result.plot.ttft(), Figure)
assert_type(result.plot.request("3/0/0", replication=1), Figure)
assert_type(result.plot.cost(ax=Figure().subplots()), Axes)
"""

WRONG = {
    "Turnstile(3)": "call-arg",
    'Turnstile(at_once="3")': "arg-type",
    "Turnstile(at_least=3)": "call-arg",
    "Turnstile().at_once = 4": "misc",
    "ls.policy(7)": "call-overload",
    'ls.Timeout(ttft="5s")': "arg-type",
}


def mypy(folder: Path, text: str) -> list[str]:
    """What mypy says about a script, a line each."""
    from mypy import api

    script = folder / "mine.py"
    script.write_text(text, encoding="utf-8")
    # With the options and the cache of `uv run mypy`: after one of those it takes seconds, not half a minute.
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    said, problem, _ = api.run([*options, "--no-error-summary", str(script)])
    assert not problem
    return said.splitlines()


@pytest.mark.long
def test_a_strict_script_passes_and_its_mistakes_are_seen(tmp_path):
    assert mypy(tmp_path, SCRIPT) == []
    found = mypy(tmp_path, SCRIPT + "\n".join(WRONG) + "\n")
    assert [line.rpartition("[")[2].rstrip("]") for line in found if " error: " in line] == list(WRONG.values()), found


def test_a_class_is_the_dataclass_that_type_checkers_are_told_of():
    of_a_class = typing.get_overloads(ls.policy)[0]
    said = of_a_class.__dataclass_transform__
    told = {**said["kwargs"], **said}  # Python 3.11 does not know frozen_default

    @ls.policy
    class ToldToCheckers:
        at_once: int = 100

        def start(self, run):
            return None

    made = ToldToCheckers.__dataclass_params__
    assert told["frozen_default"] and made.frozen
    assert told["kw_only_default"]
    with pytest.raises(TypeError):
        ToldToCheckers(100)
