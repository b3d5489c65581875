"""A real Ray cluster on loopback: the same bytes as here, also when a worker is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import llmsim as ls
from llmsim.api import RunProgress
from llmsim.errors import PolicyError
from llmsim.parallel import Cluster, in_order
from llmsim.tuning.sweep import sweep

from .test_cluster import OVER, SCENARIO

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'llmsim[ray]')")


#: A process that has the cluster as long as nobody closes its input.
_HEAD = """
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
print("at", ray.get_runtime_context().gcs_address, flush=True)
input()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # it would keep a token at home; this is loopback
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a busy machine
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            said = next((line for line in iter(process.stdout.readline, "") if line.startswith("at ")), "")
            assert said, f"it ended with {process.wait()}"
            yield said.removeprefix("at ").strip()
        finally:
            ray.shutdown()
            process.stdin.close()
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
