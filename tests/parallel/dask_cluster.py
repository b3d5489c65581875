"""A Dask cluster of processes of its own on this machine: one scheduler, workers that can be killed."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from time import monotonic

WAIT_S = 90


class Spawned:
    """A process whose lines can be waited for."""

    def __init__(self, *words: str) -> None:
        # None of what is in this folder or this process is there: what comes in comes by the cluster.
        command = [sys.executable, "-P", "-m", "dask", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self, pattern: str) -> re.Match[str]:
        end_s, seen = monotonic() + WAIT_S, []
        while (left_s := end_s - monotonic()) > 0:
            try:
                seen.append(self._lines.get(timeout=left_s))
            except Empty:
                break
            if found := re.search(pattern, seen[-1]):
                return found
        raise AssertionError(f"no {pattern!r} in {''.join(seen)}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self._reader.join(10)
        self.process.stdout.close()


class Cluster:
    """The scheduler's address, and its workers."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.scheduler = Spawned("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self.scheduler.line(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")[1]
        self.workers: list[Spawned] = []

    def add(self, *, threads: int = 1) -> Spawned:
        worker = Spawned(
            "worker", self.address, "--no-nanny", "--nthreads", str(threads), "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", self.folder,
        )  # fmt: skip
        self.workers.append(worker)
        worker.line("Registered to")
        return worker


@contextmanager
def cluster(folder: str, workers: int = 2) -> Iterator[Cluster]:
    found = Cluster(folder)
    try:
        for _ in range(workers):
            found.add()
        yield found
    finally:
        for process in (*found.workers, found.scheduler):
            process.kill()
