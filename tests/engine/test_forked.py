"""A run in a forked process: refused where it would hang, and left alone where it would not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import llmsim as ls

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc: threads have no names to be seen"),
    # Python 3.12 warns of forking with threads; that is the subject.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

SMALL = {
    "version": 1,
    "replications": 1,
    "clock": {"duration": "5s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {}},
}

#: A process in which no table has been made yet.
FRESH = f"""
import os
import signal

import polars
import llmsim as ls
import llmsim.engine.worker

pid = os.fork()
if not pid:
    signal.alarm(20)
    print(ls.run({SMALL!r}).verdict, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def told_by_child():
    """What a run in a forked child raises; a child that hangs is ended by its alarm."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(10)
        try:
            ls.run(SMALL)
            os.write(writer, b"no error")
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as said:
        text = said.read()
    assert os.waitpid(pid, 0)[1] == 0
    return text


def test_a_run_after_polars_was_used_says_what_to_do_instead():
    assert ls.run(SMALL).requests.height > 0
    text = told_by_child()
    assert text.startswith("EngineError: this process was forked from one that had used polars")
    assert "jobs=2" in text
    assert 'get_context("spawn")' in text
    assert ls.run(SMALL).requests.height > 0, "the parent goes on"


@pytest.mark.slow
def test_where_polars_has_begun_nothing_a_fork_may_run():
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "NONE\n"), done.stderr
