"""``llmsim calibrate``: from a log or a live server to a file that a scenario uses; and what a mistake is told."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from loopback import LoopbackServer, failure, hang, stream

import llmsim
from llmsim.calibrate import probe as probing

SECRET = "sk-this-must-not-be-written-anywhere"


def _log(path, n=30):
    rng = np.random.default_rng(1)
    lines = ["time,first_ms,total_ms,prompt,completion"]
    for number in range(n):
        prompt = int(rng.choice([50, 400, 1500]))
        first = 300 * np.exp(rng.normal(0, 0.1)) + 0.2 * prompt
        lines.append(f"{60 * number},{first:.3f},{first + 190:.3f},{prompt},20")
    path.write_text("\n".join(lines) + "\n")


MAPS = ["sent_s=time", "ttft_s=first_ms/1000", "e2e_s=total_ms/1000", "input_tokens=prompt", "output_tokens=completion"]


def test_a_log_becomes_a_profile_that_a_scenario_uses(ask, tmp_path):
    _log(tmp_path / "log.csv")
    words = [word for one in MAPS for word in ("--map", one)]
    done = ask("calibrate", "log", "log.csv", *words, "--out", "p.yaml", "--plot", "fit.png")
    assert done.exit_code == 0, done.output
    assert "→ line" in done.stdout
    assert "inter_token: 10ms" in done.stdout
    assert "95 % from" in done.stdout
    assert "wrote p.yaml" in done.stdout
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    scenario = {"version": 1, "traffic": {"base_rate": "1/s"}, "providers": {"a": {"profile": "p.yaml"}}}
    spec = llmsim.load(scenario).providers["a"]
    assert spec.inter_token.mean == pytest.approx(0.01)
    assert spec.prefill.per_1k == pytest.approx(0.2, rel=0.2)


def test_a_mapping_may_be_a_file(ask, tmp_path):
    _log(tmp_path / "log.csv")
    (tmp_path / "map.yaml").write_text("".join(f"{one.replace('=', ': ')}\n" for one in MAPS))
    assert ask("calibrate", "log", "log.csv", "--map", "map.yaml").exit_code == 0
    assert (tmp_path / "profile.yaml").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["log", "log.csv"], "--map sent_s=time"),
        (["log", "none.csv"], "there is no such file"),
        (["log", "log.csv", "--map", "ttft=first_ms"], "fields are sent_s"),
        (["log", "log.csv", "--map", "nowhere.yaml"], "no file that can be read"),
        (["log", "log.csv", "--out", "p.txt"], "a profile is YAML; name it p.yaml"),
        (["log", "log.csv", "--plot", "p.svg"], "name it p.png"),
        (["log", "log.csv", "--out", "nowhere/p.yaml"], "there is no directory nowhere"),
        (["probe", "live.yaml", "--yes"], "add --budget 0.10"),
        (["probe", "live.yaml", "--budget", "1"], "add --yes"),
        (["probe", "live.yaml", "--budget", "1", "--input", "a"], "whole numbers"),
        (["probe", "live.yaml", "--budget", "1", "--provider", "b"], "it has local"),
        (["probe", "none.yaml", "--budget", "1"], "there is no such file"),
    ],
)
def test_mistakes_are_bad_input(ask, tmp_path, words, told):
    _log(tmp_path / "log.csv")
    (tmp_path / "live.yaml").write_text("version: 1\nproviders: {local: {base_url: 'http://127.0.0.1:9/v1'}}\n")
    done = ask("calibrate", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (tmp_path / "profile.yaml").exists()


def _answer(seen):
    tokens = seen.body["max_tokens"]
    return stream(*["x"] * tokens, ttft_s=0.01, gap_s=0.001, usage=(10 * seen.number + 20, tokens))


def _probe(ask, tmp_path, monkeypatch, script, *words):
    monkeypatch.setattr(probing, "_PAUSE_S", 0.0)
    monkeypatch.setenv("LOCAL_KEY", SECRET)
    with LoopbackServer(script) as server:
        (tmp_path / "live.yaml").write_text(
            f"version: 1\nproviders: {{local: {{base_url: '{server.url}', model: m, key_env: LOCAL_KEY}}}}\n"
        )
        small = ("--input", "30,60", "--output", "2,4", "--concurrency", "1,2", "--repeats", "4", "--warm-up", "1")
        done = ask("calibrate", "probe", "live.yaml", "--budget", "0.1", "--yes", "--out", "p.yaml", *small, *words)
        assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    return done


@pytest.mark.slow
@pytest.mark.clock
def test_a_probe_writes_a_profile_and_its_calls_and_never_the_key(ask, tmp_path, monkeypatch):
    done = _probe(ask, tmp_path, monkeypatch, _answer, "--plot", "fit.png")
    assert done.exit_code == 0, done.output
    assert "33 calls, about $0.0000; never more than $0.1" in done.stderr
    assert "local (m): 32 calls, 32 answered" in done.stdout
    for path in tmp_path.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.output
    again = ask("calibrate", "log", "p.calls.csv", "--out", "again.yaml")
    assert again.exit_code == 0, again.output
    ours, theirs = (llmsim.load(
        {"version": 1, "traffic": {"base_rate": "1/s"}, "providers": {"local": {"profile": name}}}
    ).providers["local"] for name in ("p.yaml", "again.yaml"))  # fmt: skip
    assert ours == theirs


@pytest.mark.clock
def test_what_a_broken_probe_has_measured_is_kept(ask, tmp_path, monkeypatch):
    def script(seen):
        return failure(401, message=f"bad key {SECRET}") if seen.number == 6 else _answer(seen)

    done = _probe(ask, tmp_path, monkeypatch, script)
    assert done.exit_code == 2
    assert "AuthError" in done.stderr
    assert "calls are in p.calls.csv; llmsim calibrate log p.calls.csv" in done.stderr
    assert 5 <= len((tmp_path / "p.calls.csv").read_text().splitlines()) <= 8
    assert SECRET not in done.output
    assert SECRET not in (tmp_path / "p.calls.csv").read_text()
    assert not (tmp_path / "p.yaml").exists()


@pytest.mark.slow
@pytest.mark.clock
def test_an_interrupted_probe_keeps_what_there_is(tmp_path):
    with LoopbackServer(lambda seen: hang() if seen.number == 5 else _answer(seen)) as server:
        live = f"version: 1\nproviders: {{local: {{base_url: '{server.url}', model: m}}}}\n"
        (tmp_path / "live.yaml").write_text(live)
        words = ["calibrate", "probe", "live.yaml", "--budget", "1", "--yes", "--concurrency", "1"]
        with subprocess.Popen(
            [sys.executable, "-m", "llmsim", *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            until = time.monotonic() + 60
            while len(server.seen) < 6 and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted; 3 calls are in profile.calls.csv" in err  # two of the five were the warm-up
    assert len((tmp_path / "profile.calls.csv").read_text().splitlines()) == 4
