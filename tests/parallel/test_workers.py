"""What can be asked for, and what processes of this machine do."""

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.parallel import Cluster, as_they_come, in_order, workers_of

TCP = "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("dask", None), "needs the address of a scheduler"),
        (("ray", TCP), "use processes or dask"),
        (("processes", TCP), "backend is processes and scheduler is"),
        ((None, "127.0.0.1:8786"), "write it like tcp://"),
        (("dask", TCP, 4), "jobs is 4"),
        (("dask", TCP, -1), "jobs is -1"),
    ],
)
def test_words_that_do_not_fit(asked: tuple, told: str) -> None:
    with pytest.raises(ls.LlmsimError, match=told):
        workers_of(*asked)


def test_a_scheduler_alone_is_enough() -> None:
    assert workers_of(None, TCP) == workers_of("dask", TCP, 1) == Cluster(TCP)
    assert workers_of("processes", None, 4) is None


@pytest.mark.slow
def test_in_order_up_to_the_first_that_fails() -> None:
    seen, good = [], ("processes", None)
    with pytest.raises(ls.LlmsimError, match="backend is 'ray'") as caught:
        seen.extend(in_order(workers_of, [good, good, ("ray", None), good, ("snail", None)], 2))
    found = in_order(workers_of, [(None, TCP), good, ("ray", None)], 2)
    assert (next(found), next(found)) == (Cluster(TCP), None)
    found.close()  # without a word, though there is one result more
    assert "in workers_of" in str(caught.value.__cause__)


@pytest.mark.slow
def test_processes_leave_ctrl_c_to_their_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    assert list(in_order(signal.getsignal, [(signal.SIGINT,)] * 3, 2)) == [signal.SIG_IGN] * 3
    assert list(in_order(os.getcwd, [()] * 3, 2)) == [str(tmp_path)] * 3
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_a_process_that_ends_is_told() -> None:
    with pytest.raises(BrokenProcessPool):
        list(as_they_come(os._exit, [(3,)] * 3, 2))
