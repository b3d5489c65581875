"""Worker processes do not outlive whoever asked for them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ASKED = """
import time
from pathlib import Path
from joblib import Parallel, delayed
from llmsim.processes import begin_in_worker

def task(number):
    import os
    begin_in_worker(Path.cwd())
    return os.getpid()

for found in Parallel(n_jobs=2, return_as="generator")(delayed(task)(n) for n in range(4)):
    print(found, flush=True)
print("all", flush=True)
time.sleep(600)
"""


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_end_when_their_parent_is_killed():
    asked = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _ASKED], stdout=subprocess.PIPE, text=True)
    workers = {int(line) for line in iter(asked.stdout.readline, "all\n")}
    assert workers and os.getpid() not in workers
    assert all(map(running, workers)), "an idle worker waits for more"
    asked.kill()
    asked.wait()
    asked.stdout.close()
    deadline = time.monotonic() + 60  # joblib itself lets them wait for 300 s
    while any(map(running, workers)):
        assert time.monotonic() < deadline, f"{workers} are still there"
        time.sleep(0.1)
