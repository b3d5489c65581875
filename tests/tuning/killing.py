"""Programs that write a journal, killed with SIGKILL wherever they are, and begun again until one comes to its end.

One server process imports everything once; each attempt is a fork of it, before any thread was started there.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_SERVER = """
import os, sys
{imports}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        place = line.rstrip("\\n")
        with open(place + ".told", "w") as told:
            told.write({call})
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Killer:
    """Runs a program that keeps a journal and tells something in the end.

    Parameters
    ----------
    imports
        Statements; they start no threads.
    call
        An expression over ``place``, the journal's name: the text that is told.
    """

    def __init__(self, imports: str, call: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER.format(imports=imports, call=call)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, place: Path) -> int:
        """Begin; the process's number."""
        self._server.stdin.write(f"{place}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def end(self) -> int:
        """Wait for it: its exit code, below 0 for a signal."""
        return int(self._server.stdout.readline())

    def whole(self, place: Path) -> str:
        """Let it come to its end; what it tells."""
        self.start(place)
        assert self.end() == 0
        return Path(f"{place}.told").read_text()

    def killed(self, place: Path, journal: Path, lines: int, later_s: float) -> bool:
        """Begin, and kill it `later_s` after its journal has so many whole lines; whether it was still running then."""
        process = self.start(place)
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < deadline, "it does not get on"
            if _dead(process):
                break
            time.sleep(0.0005)
        time.sleep(later_s)
        with suppress(ProcessLookupError):  # it came to its end
            os.kill(process, signal.SIGKILL)
        return self.end() == -signal.SIGKILL


def _dead(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
