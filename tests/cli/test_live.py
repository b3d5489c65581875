"""`llmsim run --live` as a process: the question, the key, Ctrl-C, the budget."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Seen, Stall, failure, stream
from stolen import Stolen

pytestmark = pytest.mark.clock

KEY = "sk-live-0123456789abcdef"
SCENARIO = """\
version: 1
name: short
seed: 3
clock: {warm_up: 0s, duration: %s, drain: 5s}
traffic: {base_rate: 20/s, mix: [{input_tokens: 20, output_tokens: 4}]}
providers:
  one: {price: {input: $1/Mtok, output: $2/Mtok}}
faults: [{name: slow, provider: one, at: 0s, duration: 1s, latency: {multiplier: 2x}}]
"""


def answer(seen: Seen):
    return stream(*["tok "] * 4, usage=(20, 4), finish_reason="length")


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def write(server: LoopbackServer, duration: str = "300ms") -> None:
        (tmp_path / "short.yaml").write_text(SCENARIO % duration, encoding="utf-8")
        (tmp_path / "live.yaml").write_text(
            f"version: 1\nproviders: {{one: {{base_url: '{server.url}', model: m, key_env: SHORT_KEY}}}}\n",
            encoding="utf-8",
        )

    return write


RUN = ("run", "short.yaml", "--live", "live.yaml", "--budget", "0.5", "--without-faults", "simulated-only")


@pytest.mark.slow
def test_ctrl_c_shows_and_saves_what_there_is_and_ends_with_130(files: Any, spawn: Any, tmp_path: Path) -> None:
    def hangs_now_and_then(seen: Seen):
        return stream("tok ", "tok ", after=1, then=(Stall(),)) if seen.number % 4 == 3 else answer(seen)

    with LoopbackServer(hangs_now_and_then) as server:
        files(server, "60s")
        process = spawn(*RUN, "--yes", "--out", "out", "--json", "page.json", SHORT_KEY=KEY)
        limit = time.monotonic() + 30
        while len(server.seen) < 12 and time.monotonic() < limit:
            time.sleep(0.05)
        with Stolen(process.pid) as stolen:
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            took_s = time.monotonic() - start - stolen.s
        limit = time.monotonic() + 10
        while any(not seen.ended for seen in server.seen) and time.monotonic() < limit:
            time.sleep(0.02)
        ends = [seen.ended for seen in server.seen]
    assert process.returncode == 130, err
    assert took_s < 3.0  # showing and saving included
    assert "client_left" in ends
    assert "" not in ends
    page = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert (page["exit_code"], page["stopped"]) == (130, "interrupted")
    assert page["live"]["live_calls"] >= len(ends) - 1
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["stopped"] == "interrupted"
    assert "(partial: interrupted)" in out
    assert "Traceback" not in out + err
    assert "Warning" not in err


@pytest.mark.slow
def test_a_budget_that_is_used_up_is_no_interrupt(files: Any, spawn: Any, tmp_path: Path) -> None:
    with LoopbackServer(answer) as server:
        files(server, "2s")
        words = [word if word != "0.5" else "0.0003" for word in RUN]
        process = spawn(*words, "--yes", "--json", "page.json", SHORT_KEY=KEY)
        out, err = process.communicate(timeout=30)
    page = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert process.returncode == page["exit_code"] == 3, err
    assert "(partial: the budget was used up)" in out
    assert page["stopped"] == "budget"
    assert "interrupted" not in out + err
    again = "run short.yaml --seed 3 --live live.yaml --budget 0.0003 --without-faults simulated-only"
    assert page["replay"].endswith(again)
    assert again in out


def ask(tmp_path: Path, typed: bytes) -> tuple[int, str]:
    """Run it on a terminal, and type an answer to the question."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "SHORT_KEY": KEY, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "llmsim", *RUN],
        stdin=follower, stdout=follower, stderr=follower, cwd=tmp_path, env=environment,
    )  # fmt: skip
    os.close(follower)
    said, asked, limit = b"", False, time.monotonic() + 30
    try:
        while time.monotonic() < limit:
            if not select.select([leader], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other end was closed
                break
            if not piece:
                break
            said += piece
            if b"Go on?" in said and not asked:
                asked = True
                time.sleep(0.2)
                if typed:
                    os.write(leader, typed)
                else:
                    process.send_signal(signal.SIGINT)
        return process.wait(10), said.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (b"n\n", 2, "not begun: you said no"),
        (b"\n", 2, "not begun: you said no"),
        (b"", 130, "interrupted"),
        (b"\x04", 2, "not begun: you said no"),
        (b"y\n", 0, "no SLO to judge"),
    ],
    ids=["no", "enter", "ctrl-c", "ctrl-d", "yes"],
)
def test_the_question_on_a_terminal(files: Any, tmp_path: Path, typed: bytes, code: int, words: str) -> None:
    with LoopbackServer(answer) as server:
        files(server)
        found, said = ask(tmp_path, typed)
        calls = len(server.seen)
    assert found == code, said
    assert words in said
    assert "about $0.0" in said
    assert "it never spends more than $0.5" in said
    assert (calls > 0) == (code == 0)
    if code == 0:
        assert "of $0.5 spent" in said, "no progress with the spend"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--budget", "nan"), "needs to know how much"),
        (("--budget", "inf"), "needs to know how much"),
        (("--budget", "0"), "needs to know how much"),
        ((), "needs to know how much"),
        (("--budget", "1", "--yes"), "--without-faults simulated-only, or the whole fault with --without-faults slow"),
        (("--budget", "1", "--yes", "--time-scale", "0", "--without-faults", "all"), "use a number above 0"),
        (("--budget", "1"), "--without-faults"),
        (("--budget", "1", "--without-faults", "all"), "nobody is there to be asked"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    files: Any, ask: Any, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_KEY", KEY)
    with LoopbackServer(answer) as server:
        files(server)
        ran = ask("run", "short.yaml", "--live", "live.yaml", *words)
        assert not server.seen
    assert ran.exit_code == 2
    assert told in ran.output


@pytest.mark.parametrize("word", ["--yes", "--without-faults=all", "--budget=1"])
def test_words_of_live_runs_belong_to_live_runs(scenario: Any, ask: Any, word: str) -> None:
    ran = ask("run", scenario("calm"), word)
    assert ran.exit_code == 2
    assert "belongs to a live run; add --live live.yaml" in ran.output


# -- the key -----------------------------------------------------------------------------------------------------------


def quotes_the_key(seen: Seen):
    """A server that tells everybody everything."""
    said = seen.headers.get("authorization", "")
    headers = {"X-Echo": said, "WWW-Authenticate": said}
    kind = seen.number % 4
    if kind == 0:
        return failure(401, message=f"bad key {said}", headers=headers)
    if kind == 1:
        return failure(429, message=said, headers=headers)
    if kind == 2:
        return stream(said, said, usage=(20, 4), headers={**headers, "Content-Type": "text/event-stream"})
    return stream(after=0, then=(b"data: " + json.dumps({"error": {"message": said}}).encode() + b"\n\n",))


@pytest.mark.slow
def test_the_key_is_in_nothing_that_a_run_leaves(files: Any, spawn: Any, tmp_path: Path) -> None:
    with LoopbackServer(quotes_the_key) as server:
        files(server, "800ms")
        process = spawn(
            *RUN, "--yes", "--traceback", "--out", "out", "--json", "page.json", "--otlp", "run.jsonl",
            "--prometheus", "run.prom", SHORT_KEY=KEY, PYTHONFAULTHANDLER="1",
        )  # fmt: skip
        out, err = process.communicate(timeout=30)
        assert len(server.seen) >= 4
        assert all(KEY in seen.headers["authorization"] for seen in server.seen), "it was not even sent"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in left} >= {".json", ".parquet", ".jsonl", ".prom", ".yaml"}
    whole = {"stdout": out.encode(), "stderr": err.encode(), **{str(path): path.read_bytes() for path in left}}
    assert not [name for name, data in whole.items() if KEY.encode() in data or KEY[3:].encode() in data]


def test_the_key_is_in_no_object_of_a_run_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    import traceback

    import llmsim as ls
    from llmsim.live_run import plan_live, run_live
    from llmsim.scenario.load import parse_scenario

    monkeypatch.setenv("SHORT_KEY", KEY)
    caught: list[str] = []

    @ls.policy
    async def nosy(request, call_next):
        try:
            return await call_next(request)
        except Exception as error:
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            caught.append("".join(told.format()))
            caught.append(repr((error, error.args, vars(error))))
            raise

    text = (SCENARIO % "300ms").split("faults:")[0]
    with LoopbackServer(quotes_the_key) as server:
        file = {"version": 1, "providers": {"one": {"base_url": server.url, "model": "m", "key_env": "SHORT_KEY"}}}
        scenario = parse_scenario(text).with_gateway(ls.Gateway(policies=(nosy,)))
        plan = plan_live(scenario, file)
        result = run_live(plan, budget_usd=1.0)
    assert len(caught) >= 4
    pages = (repr(plan), str(plan), repr(result), result.to_json(), result._repr_html_(), result._repr_markdown_())
    for text in (*caught, *pages, repr(result.events.rows()), repr(result.attempts.rows())):
        assert KEY not in text
        assert KEY[3:] not in text


def test_the_same_again_is_a_live_run() -> None:
    from llmsim.cli.live import LiveOptions
    from llmsim.cli.replay import replay

    options = LiveOptions.of(Path("my live.yaml"), 0.25, 0.5, 2.0, yes=True, without_faults=["a", "b"])
    assert options is not None
    assert replay("s.yaml", 7, live=options.words(), started_as="llmsim") == (
        "llmsim run s.yaml --seed 7 --live 'my live.yaml' --budget 0.25 --time-scale 0.5 --rate-scale 2 "
        "--without-faults a --without-faults b"
    )
    plain = LiveOptions.of(Path("live.yaml"), 1e-05, None, None, yes=False)
    assert plain is not None
    assert plain.words() == ["--live", "live.yaml", "--budget", "1e-05"]
