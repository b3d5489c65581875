"""A run in a forked process: refused where it would hang, and left alone where it would not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.engine import forked

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

#: A process that forks; `%s` is what it does before.
FORKS = f"""
import os
import signal

import polars
import llmsim as ls

%s
pid = os.fork()
if not pid:
    signal.alarm(20)
    try:
        print(ls.run({SMALL!r}).verdict, flush=True)
    except ls.LlmsimError as error:
        print(error, flush=True)
    finally:
        os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def put(folder, *names):
    """A folder of threads as Linux shows it, with these names."""
    for number, name in enumerate(names):
        (folder / str(number)).mkdir()
        (folder / str(number) / "comm").write_text(f"{name}\n", encoding="utf-8")
    (folder / "gone").mkdir()  # a thread that ended between the two looks
    return folder


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["python", "polars-ooc-clea"], False),
        (["python", "polars-0"], True),
        (["python", "polars-ooc-clea", "polars-11"], True),
    ],
)
def test_it_depends_on_the_threads_of_the_pool(tmp_path, monkeypatch, names, refused):
    def told():
        try:
            forked.refuse_after_fork()
        except ls.LlmsimError as error:
            return str(error)
        return ""

    monkeypatch.setattr(forked, "_THREADS", put(tmp_path, *names))
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, told().encode() or b"nothing")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as said:
        text = said.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert ("had used polars" in text and "jobs=2" in text and 'get_context("spawn")' in text) is refused
    assert (text == "nothing") is not refused
    assert told() == "", "the parent goes on"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("import llmsim.engine.worker", "NONE"),  # nothing has made a table yet
        (f"assert ls.run({SMALL!r}).requests.height", "this process was forked from one that had used polars"),
    ],
    ids=["before the first table", "after it"],
)
def test_a_run_in_a_forked_process(before, told):
    done = subprocess.run(
        [sys.executable, "-c", FORKS % before],
        env={**os.environ, "POLARS_MAX_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(told)
