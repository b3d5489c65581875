"""The real model of the live tests: whether it is there, and its server for a while."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import llama_server as llama

__all__ = ["MARKS", "llama", "served"]

MARKS = [pytest.mark.live, pytest.mark.clock, pytest.mark.skipif(bool(llama.missing()), reason=llama.missing())]

_SERVER = Path(__file__).with_name("llama_server.py")


@contextlib.contextmanager
def served(*options: str) -> Iterator[str]:
    """The base URL of a running server, ended with the block; `options` are those of ``llama_server.py``."""
    with subprocess.Popen(
        [sys.executable, str(_SERVER), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            line = server.stdout.readline().strip()
            assert line.startswith("http://127.0.0.1"), f"the server did not start: {line!r}"
            yield line
        finally:
            server.stdin.close()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
