"""A real Dask cluster on loopback: the same bytes as here, whoever is killed."""

import importlib.util
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import llmsim as ls
from llmsim.api import RunProgress
from llmsim.cli.app import app
from llmsim.errors import SimulationInterrupted
from llmsim.parallel import Cluster as On
from llmsim.parallel import in_order, workers_of
from llmsim.tuning.sweep import sweep
from llmsim.tuning.tune import tune

from .dask_cluster import Cluster, cluster

# Looked for and not loaded: that takes half a second of every run, and these tests are slow ones.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed"),
]
SCENARIO = {
    "version": 1,
    "replications": 12,
    "clock": {"duration": "30s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {"ttft": {"lognormal": {"p50": "300ms", "p99": "3s"}}, "errors": {"server_error": "10%"}}},
    "gateway": {"policies": [{"retry": {"max_attempts": 2}}]},
    "slo": {"ttft": ["p(95) < 100s"]},
}
OVER = {"gateway.retry.max_attempts": [1, 2, 3]}
GATEWAY = """\
import random

import helper_of_mine


async def gateway(request, providers):
    if random.random() < 0.5:
        await helper_of_mine.pause(random.random())
    return await providers["a"].send(request)
"""
HELPER = "import asyncio\n\n\nasync def pause(seconds):\n    await asyncio.sleep(seconds)\n"


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(str(tmp_path_factory.mktemp("dask"))) as found:
        yield found


def test_a_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    with cluster(str(tmp_path), workers=2) as dask:
        seen = []

        def kill(at: RunProgress) -> None:
            if at.replications >= 2 and not seen:
                seen.append(at.replications)
                dask.workers[0].kill()

        there = ls.run(SCENARIO, backend="dask", scheduler=dask.address, progress=kill)
        assert seen and len(there.replications) > 2
        assert dask.workers[0].process.returncode == -9
        assert dask.workers[1].process.poll() is None
        here = ls.run(SCENARIO)
        assert there.event_hash == here.event_hash
        assert [one.number for one in there.replications] == [one.number for one in here.replications]
        # And the cluster goes on as it is.
        assert sweep(SCENARIO, OVER, backend="dask", scheduler=dask.address).table.equals(sweep(SCENARIO, OVER).table)


def test_ctrl_c_gives_what_there_is(dask: Cluster) -> None:
    def stop(at: RunProgress) -> None:
        if at.replications >= 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(SimulationInterrupted) as caught:
        ls.run(SCENARIO | {"slo": {}}, replications=400, backend="dask", scheduler=dask.address, progress=stop)
    assert 2 <= len(caught.value.partial.replications) < 50


def test_a_sweep_and_a_tuning(dask: Cluster) -> None:
    on = {"backend": "dask", "scheduler": dask.address}
    assert sweep(SCENARIO, OVER, **on).table.equals(sweep(SCENARIO, OVER).table)
    asked = {"space": OVER, "minimize": "error_rate", "replications": 4, "held_out": 6}
    here, there = tune(SCENARIO, **asked, jobs=1).to_dict(), tune(SCENARIO, **asked, **on).to_dict()
    assert json.dumps(here, default=str) == json.dumps(there, default=str)


def test_gateways_side_by_side(dask: Cluster) -> None:
    gateways: dict[str, Any] = {"nothing": [], "a retry": [ls.Retry(max_attempts=2)]}
    on = {"backend": "dask", "scheduler": dask.address}
    here, there = (ls.lab.compare_policies(gateways, SCENARIO, replications=4, **how) for how in ({}, on))
    hashes = [[one.event_hash for one in found.results.values()] for found in (here, there)]
    assert hashes[0] == hashes[1] and hashes[0][0] != hashes[0][1]
    assert str(here) == str(there)
    with pytest.raises(ls.LlmsimError, match="no scheduler answers"):  # it is asked at all
        ls.lab.compare_policies(gateways, SCENARIO, scheduler="tcp://127.0.0.1:1")


def _module(name: str, path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_code_and_files_that_are_not_there_are_sent(
    dask: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers have threads, too: one simulation at a time draws from `random`, which the run seeds."""
    dask.add(threads=2)
    _module("helper_of_mine", tmp_path / "helper_of_mine.py", HELPER, monkeypatch)
    gateway = _module("gateway_of_mine", tmp_path / "gateway_of_mine.py", GATEWAY, monkeypatch).gateway
    rows = "".join(f"{n / 4},{50 + n % 7},{20 + n % 5}\n" for n in range(100))
    (tmp_path / "trace.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}", encoding="utf-8")
    traffic = {"executor": "trace", "trace": {"file": "trace.csv"}}
    (tmp_path / "it.yaml").write_text(json.dumps(SCENARIO | {"traffic": traffic}), encoding="utf-8")
    scenario = ls.load(tmp_path / "it.yaml").with_gateway(gateway)
    there = ls.run(scenario, backend="dask", scheduler=dask.address)
    here = ls.run(scenario)
    assert there.event_hash == here.event_hash
    assert here.metrics["requests"] > 50


def test_a_check_and_a_run_from_the_command_line(dask: Cluster, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(json.dumps(SCENARIO | {"name": name}), encoding="utf-8")
    pages = []
    for on in ([], ["--backend", "dask", "--scheduler", dask.address]):
        out = tmp_path / "out.json"
        asked = ["check", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), *on, "--jobs", "1", "--json", str(out)]
        assert CliRunner().invoke(app, asked).exit_code == 0
        found = json.loads(out.read_text(encoding="utf-8"))
        pages.append([(one["scenario"], one["event_hash"], one["metrics"]) for one in found])
    assert len(pages[0]) == 2 and pages[0] == pages[1]


def test_a_search_and_a_capacity_from_the_command_line(dask: Cluster, tmp_path: Path) -> None:
    shop = {
        "version": 1, "name": "shop", "replications": 6, "clock": {"duration": "40s", "drain": "5s"},
        "traffic": {"base_rate": "2/s", "arrivals": "constant", "mix": [{"input_tokens": 50, "output_tokens": 5}]},
        "providers": {"a": {"ttft": "100ms", "inter_token": "1ms", "concurrency": 1}},
        "slo": {"error_rate": ["value < 5%"], "ttft": ["p(90) < 20s"]},
    }  # fmt: skip
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in shop.items())
    (tmp_path / "shop.yaml").write_text(text, encoding="utf-8")
    found, loads = [], []
    for on in (["--jobs", "1"], ["--backend", "dask", "--scheduler", dask.address]):
        written, out = tmp_path / "found.yaml", tmp_path / "out.json"
        asked = ["search", str(tmp_path / "shop.yaml"), "--budget", "50", "--kinds", "abort", "--max-faults", "1"]
        ran = CliRunner().invoke(app, [*asked, *on, "--output", str(written)])
        assert ran.exit_code == 1, ran.output
        found.append(written.read_bytes())
        asked = ["capacity", str(tmp_path / "shop.yaml"), "--tolerance", "50%", *on, "--json", str(out)]
        ran = CliRunner().invoke(app, asked)
        assert ran.exit_code in (0, 3), ran.output
        loads.append(json.loads(out.read_text(encoding="utf-8"))["probes"])
    assert found[0] == found[1] and b"abort" in found[0]
    assert len(loads[0]) > 2 and loads[0] == loads[1]


def test_errors_come_in_the_order_of_the_tasks(dask: Cluster) -> None:
    good = ("processes", None)
    found = in_order(workers_of, [good, (None, dask.address), ("ray", None), *[good] * 9], On(dask.address))
    assert [next(found), next(found)] == [None, On(dask.address)]
    with pytest.raises(ls.LlmsimError, match="backend is 'ray'"):
        next(found)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.parallel.cluster._CONNECT_S", 1.0)
    with pytest.raises(ls.LlmsimError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1 "):
        ls.run(SCENARIO, backend="dask", scheduler="tcp://127.0.0.1:1")


def test_a_cluster_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.parallel.cluster._NO_WORKERS_S", 0.5)
    with (
        cluster(str(tmp_path), workers=0) as dask,
        pytest.raises(ls.LlmsimError, match=r"has no workers; start some: dask worker tcp://"),
    ):
        ls.run(SCENARIO, backend="dask", scheduler=dask.address)
