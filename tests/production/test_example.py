"""The example application, word for word, in a process of its own: served, watched, and stopped in mid-answer."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from loopback import LoopbackServer, failure, stream
from production.collector import Collector, told

pytestmark = pytest.mark.clock

ROOT = Path(__file__).parents[2]
APP = ROOT / "tests" / "examples" / "app.py"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_it_is_short():
    assert len(APP.read_text(encoding="utf-8").splitlines()) < 40


def test_the_readme_shows_it_whole():
    assert f"```python\n{APP.read_text(encoding='utf-8')}```" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """The application beside a scenario of the lab and a live.yaml; only ports and addresses are changed."""
    scenario = (ROOT / "scenarios" / "hacker-news-spike.yaml").read_text(encoding="utf-8")
    (tmp_path / "scenario.yaml").write_text(scenario, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_it_serves_what_was_tuned(folder):
    import openai

    port = free_port()
    with (
        Collector() as collector,
        LoopbackServer(failure(503)) as primary,
        LoopbackServer(stream("Hello", " there", " you", gap_s=0.4)) as spare,
        LoopbackServer(failure(500)) as last,
    ):
        text = APP.read_text(encoding="utf-8").replace("port=8000", f"port={port}")
        (folder / "app.py").write_text(text.replace("http://127.0.0.1:4318", collector.url), encoding="utf-8")
        names = {"openai": primary, "anthropic": spare, "local": last}
        lines = [f"  {name}: {{base_url: {server.url}, model: m}}" for name, server in names.items()]
        (folder / "live.yaml").write_text("\n".join(["version: 1", "providers:", *lines]), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said = ""
            while "running on" not in said:  # uvicorn's own words, once it listens
                line = process.stderr.readline()
                assert line, f"it ended: {said}"
                said += line
            client = openai.OpenAI(
                base_url=f"http://127.0.0.1:{port}/v1", api_key="-", max_retries=0, http_client=httpx.Client()
            )
            asked = {"model": "chat", "messages": [{"role": "user", "content": "Hello?"}]}
            chunks = iter(client.chat.completions.create(**asked, stream=True, extra_headers={"X-Tenant": "acme"}))
            pieces = [next(chunks).choices[0].delta.content]
            process.send_signal(signal.SIGTERM)  # in the middle of the answer
            pieces += [one.choices[0].delta.content or "" for one in chunks]
            client.close()
            process.wait(20)
        finally:
            process.kill()
            rest = process.communicate()[1]
    assert "".join(pieces) == "Hello there you", said + rest
    assert "Traceback" not in said + rest
    assert process.returncode in (0, -signal.SIGTERM)
    assert re.search(r"Finished server process", said + rest)
    # The scenario's own policies: a 503 is retried once, and then it falls back.
    assert [len(server.seen) for server in (primary, spare, last)] == [2, 1, 0]
    (root,) = (one for one in collector.spans if not one.parent_span_id)
    about = told(root.attributes)
    wanted = {
        "llmsim.route": "chat", "llmsim.tenant": "acme", "llmsim.outcome": "ok", "llmsim.served_by": "anthropic",
        "llmsim.first_choice": "openai", "llmsim.attempts": 3, "llmsim.fallbacks": 1,
    }  # fmt: skip
    assert {name: about.get(name) for name in wanted} == wanted
    assert len(collector.spans) == 4
    assert sum(value for _, value in collector.points("llmsim.requests")) == 1
