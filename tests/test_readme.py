"""What the README shows works, and is what one sees."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, failure, stream

from llmsim.gateway import registry
from llmsim.gateway.registry import policy_kinds

pytestmark = pytest.mark.clock

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """Its code blocks of a language, in order; what goes into a file of its own, by its first line, is apart."""
    return [
        text
        for found, text in _BLOCK.findall(README)
        if found == language and not text.startswith(("# live.yaml", "# app.py"))
    ]


POLICY, LAB, LIVE, NOTEBOOK, CLASS, WHOLE, CACHED = blocks("python")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first block defines, in the project's directory."""
    monkeypatch.chdir(ROOT)
    # A class of the README may go by the name of a policy of the library, and would stand in for it from then on.
    policy_kinds()
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    module = types.ModuleType("of_the_readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(POLICY, module.__dict__)
    return module.__dict__


@pytest.mark.slow
def test_the_policy_in_the_lab(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    small = 'load("scenarios/hacker-news-spike.yaml", ["traffic.base_rate=0.2/s", "replications=6"])'
    exec(LAB.replace('load("scenarios/hacker-news-spike.yaml")', small), names)
    assert len(names["result"].replications) == 6
    assert names["result"].metrics["requests"] > 50
    assert capsys.readouterr().out.startswith(names["result"].verdict)


def test_the_same_policy_live(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "of-a-test")
    with (
        LoopbackServer(failure(429, headers={"Retry-After": "1"})) as openai,
        LoopbackServer(stream("Hello", " there")) as anthropic,
        LoopbackServer(stream("never asked")) as local,
    ):
        code = LIVE.replace("https://api.openai.com/v1", openai.url)
        code = code.replace("https://api.anthropic.com/v1", anthropic.url)
        code = code.replace("http://localhost:8080/v1", local.url)
        exec(code, names)
    assert capsys.readouterr().out == "Hello there"
    assert [len(server.seen) for server in (openai, anthropic, local)] == [1, 1, 0]
    assert anthropic.seen[0].body["model"] == "claude-haiku-4-5"


@pytest.mark.slow
def test_what_a_notebook_types(names: dict[str, Any]) -> None:
    import llmsim as ls

    names["spike"] = ls.load(
        ROOT / "scenarios" / "hacker-news-spike.yaml", ["traffic.base_rate=0.2/s", "replications=6"]
    )
    exec(NOTEBOOK.replace("1s..8s in 4 log", "1s..8s in 2 log"), names)


def test_a_class_with_state(names: dict[str, Any]) -> None:
    import llmsim as ls

    exec(CLASS, names)
    scenario = {
        "version": 1,
        "replications": 1,
        "clock": {"duration": "20s"},
        "traffic": {"base_rate": "20/s"},
        "providers": {"openai": {"ttft": "500ms"}},
        "gateway": {"policies": [{"turnstile": {"at_once": 3}}]},
    }
    crowded = ls.run(scenario)
    roomy = ls.run(scenario, overrides=["gateway.turnstile.at_once=1000"])
    assert crowded.metrics["ttft_s"]["p90"] > 5 * roomy.metrics["ttft_s"]["p90"]


def test_a_whole_gateway(names: dict[str, Any]) -> None:
    import llmsim as ls

    names["spike"] = ls.load(ROOT / "scenarios" / "hacker-news-spike.yaml", ["traffic.base_rate=0.2/s"])
    exec(WHOLE, names)
    assert names["result"].metrics["requests"] > 50


def test_the_scenario_of_30_lines(tmp_path: Path) -> None:
    import llmsim as ls

    text = blocks("yaml")[0]
    assert len(text.splitlines()) <= 35
    path = tmp_path / "brown-out.yaml"
    path.write_text(text, encoding="utf-8")
    assert ls.load(path).name == "brown-out"
    assert ls.load(path, ["gateway.fallback.order=[spare,primary]"]) != ls.load(path)


def test_the_words_for_policies_are_words_of_a_scenario(tmp_path: Path) -> None:
    import llmsim as ls

    path = tmp_path / "policies.yaml"
    path.write_text(
        "version: 1\nreplications: 1\nclock: {duration: 20s}\n"
        "traffic: {base_rate: 6/s, mix: [{route: chat}], users: 20}\n"
        "providers: {a: {price: {output: $1/Mtok}}, b: {price: {output: $1/Mtok}}}\n" + blocks("yaml")[1]
    )
    scenario = ls.load(path)
    assert len(scenario.gateway.policies) + len(scenario.gateway.upstream) == 9
    metrics = ls.run(scenario).metrics
    assert (metrics["requests"] > 50, metrics["error_rate"]) == (True, 0.0)


@pytest.mark.slow
def test_a_semantic_cache_is_opened_live(names: dict[str, Any]) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra embeddings")
    from gateway.policies.toys import Toy, ask

    exec(CACHED, names)

    async def main() -> list[str]:
        gateway, served = names["open_gateway"]([Toy()]), []
        for words in ("How do I reset my password?", "How do I reset my password?", "Where is my card?"):
            response = await gateway.send(ask(messages=(names["ls"].Message("user", words),)))
            await response.read()
            await asyncio.sleep(0.05)  # what is kept is kept off the caller's path
            served.append(response.served_from)
        return served

    assert asyncio.run(main()) == ["upstream", "cache", "upstream"]


def test_the_words_for_slos_are_words_of_a_scenario(tmp_path: Path) -> None:
    import llmsim as ls
    from llmsim.scenario.objectives import objectives_of

    path = tmp_path / "slo.yaml"
    path.write_text(
        "version: 1\ntraffic: {base_rate: 6/s}\nproviders: {a: {ttft: 300ms}}\n"
        "faults: [{name: brown-out, provider: a, at: 60s, duration: 30s, latency: {multiplier: 4x}}]\n"
        + blocks("yaml")[3]
    )
    lines = objectives_of(ls.load(path))
    assert [line.phase is not None for line in lines] == [False, True, True, False, False]
    assert lines[3].window_s == 10.0
    assert lines[4].abort_on_fail


def test_live_yaml_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmsim.live_run import plan_live
    from llmsim.scenario.load import read_document

    (text,) = [text for _, text in _BLOCK.findall(README) if text.startswith("# live.yaml")]
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-of-a-test")
    plan = plan_live(
        ROOT / "scenarios" / "hacker-news-spike.yaml", read_document(text)[0].data, overrides=["faults=[]"]
    )
    assert plan.scenario.providers["anthropic"].model == "claude-haiku-4-5"


def test_the_workflows_are_yaml_that_runs_a_command_there_is() -> None:
    import re

    from ruamel.yaml import YAML

    from llmsim.cli.app import app  # noqa: F401 - it must load

    for text in blocks("yaml")[4:6]:
        assert YAML(typ="safe").load(text)
        assert re.search(r"llmsim check scenarios/ --gateway \S+ --junit check.xml --html report", text)


@pytest.mark.slow
def test_the_words_for_real_providers_are_words_of_a_scenario(tmp_path: Path) -> None:
    import llmsim as ls

    path = tmp_path / "real.yaml"
    path.write_text("version: 1\nreplications: 1\nclock: {start: monday 08:00, duration: 20s}\n" + blocks("yaml")[2])
    scenario = ls.load(path)
    assert scenario.providers["openai"].dialect == "openai"
    assert scenario.providers["openai"].rate_limit is not None
    assert ls.run(scenario).metrics["requests"] > 50


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("hacker-news-spike", 0), ("article-gateway", 1)])
def test_what_one_sees_is_what_one_sees(name: str, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "llmsim", "run", f"scenarios/{name}.yaml"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ran.returncode == code
    seen = {_steady(line) for line in ran.stdout.splitlines()}
    block = next(text for text in blocks("text") if re.search(rf"^[✓✗] {name}: ", text, re.MULTILINE))
    shown = [line for line in block.splitlines() if line and not line.strip().startswith(("$", "…"))]
    assert shown
    assert [line for line in shown if _steady(line) not in seen] == []


def _steady(line: str) -> str:
    """Without the time it took and the hash of all that was recorded, and with spaces as they come."""
    line = line.replace("python -m llmsim", "llmsim")
    return re.sub(r"\s+", " ", re.sub(r"(?<= simulated) in [\d.hms]+|, hash \w+", "", line)).strip()


@pytest.mark.slow
def test_the_30_lines_run(tmp_path: Path) -> None:
    path = tmp_path / "brown-out.yaml"
    path.write_text(blocks("yaml")[0], encoding="utf-8")
    ran = subprocess.run([sys.executable, "-m", "llmsim", "run", str(path), "--quiet"], check=False)
    assert ran.returncode == 0
