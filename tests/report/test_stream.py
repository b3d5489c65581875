"""What is written while it runs is what would have been kept; who is killed goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from report.test_recorded import SPIKE

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.report import stream
from llmsim.telemetry import recorder


@pytest.fixture
def small_files(monkeypatch):
    """Many files already of a small run."""
    monkeypatch.setattr(stream, "PART_ROWS", 4096)
    monkeypatch.setattr(recorder, "STREAMED_ROWS", 4096)


def told(result):
    page = json.loads(result.to_json())
    page.pop("wall_s")
    return page


def assert_same(one, other):
    assert told(one) == told(other)
    for name in ("requests", "attempts", "events", "windows"):
        assert getattr(one, name).equals(getattr(other, name)), name


@pytest.fixture(scope="module")
def kept():
    return ls.run(SPIKE)


@pytest.mark.slow
def test_a_streamed_run_is_the_same_run(kept, tmp_path):
    streamed = ls.run(SPIKE, stream=tmp_path / "run")
    assert_same(streamed, kept)
    loaded = ls.load_result(tmp_path / "run")
    assert repr(loaded).partition("simulated")[0] == repr(kept).partition("simulated")[0]
    assert not {"requests", "attempts", "samples"} & set(vars(loaded)), "showing it read the tables"
    assert_same(loaded, kept)
    assert loaded.slo == kept.slo
    files = pl.read_parquet(tmp_path / "run" / "replication-0001" / "requests" / "*.parquet")
    assert files.equals(kept.requests.filter(pl.col("replication") == 1))


@pytest.mark.slow
def test_ten_thousand_requests_in_several_files(small_files, tmp_path):
    long = {**SPIKE, "replications": 1, "clock": {"warm_up": "10s", "duration": "19m", "drain": "20s"}}
    kept = ls.run(long)
    streamed = ls.run(long, stream=tmp_path)
    assert kept.requests.height > 10_000
    assert len(list((tmp_path / "replication-0000" / "requests").iterdir())) > 2
    assert_same(streamed, kept)
    assert_same(ls.load_result(tmp_path), kept)


def test_a_second_run_keeps_what_the_first_had_finished(kept, tmp_path):
    ls.run(SPIKE, replications=1, stream=tmp_path)
    first = tmp_path / "replication-0000" / "done.json"
    written = first.stat().st_mtime_ns
    (tmp_path / "replication-0001").mkdir()  # of one that was killed
    (tmp_path / "replication-0001" / "rest").write_text("…")
    assert_same(ls.run(SPIKE, stream=tmp_path), kept)
    assert first.stat().st_mtime_ns == written
    assert not (tmp_path / "replication-0001" / "rest").exists()


@pytest.mark.slow
def test_streams_of_earlier_versions_have_fewer_columns(kept, tmp_path):
    ls.run(SPIKE, stream=tmp_path)
    for part in tmp_path.glob("replication-*/attempts/*.parquet"):
        pl.read_parquet(part).drop("server_s").write_parquet(part)
    stream._kept.forget(tmp_path)
    assert_same(ls.load_result(tmp_path), kept)


@pytest.mark.slow
def test_another_run_does_not_go_on_here(tmp_path):
    ls.run(SPIKE, replications=1, stream=tmp_path / "run")
    with pytest.raises(LlmsimError, match="another run"):
        ls.run(SPIKE, seed=6, stream=tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(LlmsimError, match="not empty"):
        ls.run(SPIKE, stream=tmp_path / "other")


@pytest.mark.slow
def test_a_file_that_is_gone_or_cut_off(tmp_path):
    ls.run(SPIKE, replications=1, stream=tmp_path)
    part = tmp_path / "replication-0000" / "attempts" / "000000.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    stream._kept.forget(tmp_path)
    with pytest.raises(LlmsimError, match=r"000000\.parquet is damaged"):
        ls.load_result(tmp_path).attempts
    part.unlink()
    with pytest.raises(LlmsimError, match=r"000000\.parquet is missing"):
        ls.load_result(tmp_path).attempts


@pytest.mark.slow
def test_worker_processes_write_the_same(kept, tmp_path):
    assert_same(ls.run(SPIKE, jobs=2, stream=tmp_path), kept)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(kept, tmp_path):
    program = "import sys, json, llmsim; llmsim.run(json.loads(sys.argv[1]), stream=sys.argv[2])"
    command = [sys.executable, "-c", program, json.dumps(SPIKE), str(tmp_path / "run")]
    for done in ("run.json", "replication-0000/requests.unsorted", "replication-0000/done.json"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not (tmp_path / "run" / done).exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it was over before {done} was there"
    assert not (tmp_path / "run" / "result.json").exists()
    finished = (tmp_path / "run" / "replication-0000" / "done.json").stat().st_mtime_ns
    subprocess.run(command, check=True, env=dict(os.environ))
    assert (tmp_path / "run" / "replication-0000" / "done.json").stat().st_mtime_ns == finished
    assert_same(ls.load_result(tmp_path / "run"), kept)
