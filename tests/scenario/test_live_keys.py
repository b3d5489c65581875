"""A key that is not in the environment is told before anything begins, by everything that would call somebody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

import llmsim as ls
from llmsim.cli.app import app
from llmsim.errors import ScenarioError
from llmsim.live_run import plan_live
from llmsim.production import live_providers

SCENARIO = """\
version: 1
traffic: {base_rate: 20/s}
providers: {one: {}, two: {}, open: {}}
"""
#: Port 9 (discard): whoever calls there is refused, and the test fails otherwise.
LIVE = """\
version: 1
providers:
  one: {base_url: 'http://127.0.0.1:9/v1', model: m, key_env: KEY_OF_ONE}
  two: {base_url: 'http://127.0.0.1:9/v1', model: m, key_env: KEY_OF_TWO}
  open: {base_url: 'http://127.0.0.1:9/v1', model: m}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.delenv("KEY_OF_ONE", raising=False)
    monkeypatch.setenv("KEY_OF_TWO", "sk two 0123456789")
    for name, text in (("short.yaml", SCENARIO), ("live.yaml", LIVE)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / "short.yaml"), str(tmp_path / "live.yaml")


def told(text: str) -> bool:
    """Whether both variables and their lines are named, what to do, and no value."""
    words = ("live.yaml:3:", "variable KEY_OF_ONE is not set", "live.yaml:4:", "KEY_OF_TWO cannot be an API key")
    return all(word in text for word in (*words, "Export it before")) and "0123456789" not in text


def test_a_live_run_does_not_begin(files: tuple[str, str]) -> None:
    with pytest.raises(ScenarioError) as caught:
        ls.run_live(*files, budget_usd=1.0)
    assert told(str(caught.value))


def test_with_keys_it_would(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY_OF_ONE", "KEY_OF_TWO"):
        monkeypatch.setenv(name, "sk-0123456789")
    assert plan_live(*files).requests > 0


@pytest.mark.parametrize(("key_env", "wanted"), [(None, False), ("", True)])
def test_none_is_no_key_and_an_empty_name_is_a_variable_that_nobody_has(key_env: str | None, wanted: bool) -> None:
    """So it is when the call is made; until then such a file would pass."""
    providers = {"a": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "key_env": key_env}}
    scenario = {"version": 1, "traffic": {"base_rate": "20/s"}, "providers": {"a": {}}}
    live = {"version": 1, "providers": providers}
    if not wanted:
        assert plan_live(scenario, live).requests > 0
        return
    with pytest.raises(
        ScenarioError, match=r"is the name of an environment variable.*leave key_env out if the server wants none"
    ):
        plan_live(scenario, live)


def test_a_server_does_not_start(files: tuple[str, str]) -> None:
    async def start() -> None:
        async with live_providers(files[1], ls.load(files[0])):
            pass

    with pytest.raises(ScenarioError) as caught:
        asyncio.run(start())
    assert told(str(caught.value))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "short.yaml", "--live", "live.yaml"),
        ("compare", "short.yaml", "--live", "live.yaml"),
        ("calibrate", "probe", "live.yaml", "--provider", "one"),
    ],
    ids=lambda words: words[0],
)
def test_commands_end_with_2_before_they_ask(words: tuple[str, ...], files: tuple[str, str]) -> None:
    folder = Path(files[0]).parent
    typed = [str(folder / word) if word.endswith(".yaml") else word for word in words]
    done = CliRunner().invoke(app, [*typed, "--budget", "0.1"])
    assert done.exit_code == 2, done.output
    assert "variable KEY_OF_ONE is not set" in " ".join(done.output.split())
    assert "about $" not in done.output
