"""`llmsim import-gateway`: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CONFIG = """\
model_list:
  - {model_name: chat, litellm_params: {model: gpt-4o-mini, api_key: sk-secret}}
  - {model_name: other, litellm_params: {model: gpt-4o}}
router_settings: {num_retries: 3, frobnicate: true}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.slow
def test_it_prints_a_scenario_that_runs(config: Path, ask: Any, tmp_path: Path) -> None:
    ran = ask("import-gateway", config)
    assert ran.exit_code == 0
    assert "max_attempts: 4  # line 4: router_settings.num_retries" in ran.stdout
    for stream in (ran.stdout, ran.stderr):
        assert "line 4 router_settings.frobnicate: unknown key" in stream
        assert "sk-secret" not in stream
    (tmp_path / "mine.yaml").write_text(ran.stdout, encoding="utf-8")
    assert ask("run", "mine.yaml", "--replications", 1, "--set", "clock.duration=20s").exit_code == 0


@pytest.mark.slow
def test_a_group_can_be_chosen(config: Path, ask: Any) -> None:
    assert "openai-gpt-4o:" in ask("import-gateway", config, "--model-group", "other").stdout
    refused = ask("import-gateway", config, "--model-group", "othr")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Did you mean 'other'?" in refused.stderr


def test_it_replaces_the_sections_of_a_scenario(config: Path, ask: Any, scenario: Any) -> None:
    path = scenario("calm")
    before = path.read_text(encoding="utf-8")
    ran = ask("import-gateway", config, "--into", path)
    assert ran.exit_code == 0
    assert "frobnicate" in ran.stderr
    after = path.read_text(encoding="utf-8")
    assert after.split("providers:")[0] == before.split("providers:")[0]
    assert after.endswith(before[before.index("slo:") :])
    assert "openai-gpt-4o-mini" in after
    assert ask("run", path, "--replications", 1).exit_code != 2
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


def test_a_scenario_that_would_be_wrong_is_left_alone(config: Path, ask: Any, scenario: Any) -> None:
    path = scenario("calm")
    text = path.read_text(encoding="utf-8") + '  "ttft{provider:openai}": ["p(50) < 9s"]\n'
    path.write_text(text, encoding="utf-8")
    ran = ask("import-gateway", config, "--into", path)
    assert ran.exit_code == 2
    assert f":{len(text.splitlines())}:" in ran.stderr
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("confg.yaml",), "Did you mean config.yaml?"),
        ((".",), "this is a directory"),
        (("config.yaml", "--format", "portkee"), "Did you mean portkey?"),
        (("config.yaml", "--into", "absent.yaml"), "there is no such file"),
        (("calm.yaml",), "neither a LiteLLM config"),
        (("config.yaml", "--format", "portkey", "--model-group", "chat"), "no model groups"),
    ],
)
def test_what_cannot_be_read(config: Path, ask: Any, scenario: Any, words: tuple[str, ...], said: str) -> None:
    scenario("calm")
    ran = ask("import-gateway", *words)
    assert ran.exit_code == 2, ran.stdout
    assert said in ran.stderr
    assert ran.stdout == ""


def test_help_has_examples(ask: Any) -> None:
    ran = ask("import-gateway", "--help")
    assert "llmsim import-gateway config.yaml > mine.yaml && llmsim run mine.yaml" in ran.stdout
    assert "--model-group" in ran.stdout
