"""A real Ray cluster on loopback: the same bytes as here, also when a worker is killed."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.api import RunProgress
from llmsim.errors import PolicyError
from llmsim.parallel import Cluster, in_order
from llmsim.tuning.sweep import sweep

from .test_cluster import OVER, SCENARIO

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'llmsim[ray]')")


def _free(count: int) -> list[str]:
    """Ports: a raylet that its agents have to tell theirs gives up after half a minute, on a busy machine too early."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # it would keep a token at home; this is loopback
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")
        port, grpc, listen, environment, export = _free(5)
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "2",
            "--node-ip-address", "127.0.0.1", "--port", port, "--include-dashboard", "false",
            "--dashboard-agent-grpc-port", grpc, "--dashboard-agent-listen-port", listen,
            "--runtime-env-agent-port", environment, "--metrics-export-port", export,
            "--object-store-memory", str(80 * 2**20),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen: list[str] = []
        try:
            for line in iter(process.stdout.readline, ""):
                seen.append(line)
                if "Ray runtime started" in line:
                    break
            assert process.poll() is None, "".join(seen)
            yield f"127.0.0.1:{port}"
        finally:
            ray.shutdown()
            process.terminate()
            process.wait(60)
            process.stdout.close()


def test_the_same_bytes_and_a_worker_is_killed(head: str) -> None:
    here, on = ls.run(SCENARIO), {"backend": "ray", "scheduler": head}
    assert ls.run(SCENARIO, **on).event_hash == here.event_hash
    workers = list(in_order(os.getpid, [()] * 4, Cluster(head, "ray")))
    killed = []

    def kill(at: RunProgress) -> None:
        if at.replications >= 2 and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    assert ls.run(SCENARIO, **on, progress=kill).event_hash == here.event_hash
    assert killed and killed[0] not in list(in_order(os.getpid, [()] * 4, Cluster(head, "ray")))
    assert sweep(SCENARIO, OVER, **on).table.equals(sweep(SCENARIO, OVER).table)


def test_errors_and_code_of_ones_own(head: str) -> None:
    async def gateway(request, providers):
        if request.id == "nobody's":
            return None
        return await providers["a"].send(request)

    async def wrong(request, providers):
        return None

    on = {"backend": "ray", "scheduler": head}
    mine = ls.load(SCENARIO).with_gateway(gateway)
    assert ls.run(mine, **on).event_hash == ls.run(mine).event_hash
    with pytest.raises(PolicyError):
        ls.run(ls.load(SCENARIO).with_gateway(wrong), **on)


def test_a_cluster_that_is_not_there(head: str) -> None:
    ray.shutdown()
    with pytest.raises(ls.LlmsimError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        ls.run(SCENARIO, backend="ray", scheduler="127.0.0.1:1")
