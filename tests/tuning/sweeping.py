"""A scenario small enough to be swept in a test, and a program that sweeps it until somebody kills it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

#: 100 requests a run, a failure in five, and a policy of each scope.
SMALL = {
    "version": 1,
    "name": "small",
    "seed": 5,
    "clock": {"duration": "20s", "drain": "10s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {
        "openai": {"ttft": "300ms", "inter_token": "5ms", "errors": {"server_error": "20%"}},
        "spare": {"ttft": "900ms", "inter_token": "5ms"},
    },
    "gateway": {
        "policies": [{"retry": {"max_attempts": 2, "backoff": {"initial": "100ms"}}}],
        "upstream": [{"timeout": {"ttft": "2s"}}],
    },
    "slo": {"error_rate": ["value < 5%"]},
}
OVER = {"gateway.retry.max_attempts": [1, 2, 3], "upstream.timeout.ttft": ["1s", "2s"]}

_PROGRAM = """
import json, sys
import llmsim
from tuning.sweeping import OVER, SMALL
if __name__ == "__main__":
    found = llmsim.sweep(SMALL, OVER, out=sys.argv[1], jobs=int(sys.argv[2]), replications=int(sys.argv[3]))
    print(json.dumps({"resumed": found.resumed, "runs": len(found.rows)}))
"""


def start(out, jobs, replications):
    """The program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(out), str(jobs), str(replications)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def kept(out):
    """(point, replication) of every whole line in the journal after the first, in order."""
    journal = Path(f"{out}.journal")
    lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
    return [tuple(map(int, json.loads(line)[1].split("|"))) for line in lines]


def killed(out, *, kills, jobs, replications, seed, within_s=0.05):
    """Kill it at random moments after its first result until it has been killed so often, then let it end.

    Parameters
    ----------
    jobs
        Processes, in turn.
    within_s
        Of its first result: when it is killed.

    Returns
    -------
    dict
        What the last one said of itself, and how many runs were on the disk at each kill.
    """
    luck, before, at = random.Random(seed), [], []
    for number in range(kills):
        process = start(out, jobs[number % len(jobs)], replications)
        while len(kept(out)) == len(before) and process.poll() is None:  # it has begun to work
            time.sleep(0.002)
        time.sleep(luck.random() * within_s)
        if process.poll() is not None:
            raise AssertionError(f"it ended before kill {number}: {process.stderr.read()}")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = kept(out)
        assert now[: len(before)] == before, "something was lost"
        assert len(set(now)) == len(now), "something was done twice"
        before = now
        at.append(len(now))
    text, errors = start(out, jobs[kills % len(jobs)], replications).communicate(timeout=300)
    assert text, errors
    told = json.loads(text)
    assert told["resumed"] == len(before), "what was there was done again"
    return {**told, "at": at}


if __name__ == "__main__":
    # PYTHONPATH=tests python tests/tuning/sweeping.py KILLS JOBS…: what the plan asks for is 20.
    import tempfile

    kills, jobs = int(sys.argv[1]), [int(text) for text in sys.argv[2:]]
    replications = 12 + 8 * kills
    with tempfile.TemporaryDirectory() as folder:
        whole, resumed = Path(folder, "whole.parquet"), Path(folder, "killed.parquet")
        start(whole, 1, replications).communicate()
        asked = {"jobs": jobs, "replications": replications, "seed": kills, "within_s": 0.6}
        told = killed(resumed, kills=kills, **asked)
        same = whole.read_bytes() == resumed.read_bytes()
        print(f"{kills} kills after {told['at']} of {told['runs']} runs, processes {jobs}; same bytes: {same}")
