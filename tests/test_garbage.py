"""What complains only as garbage fails the run, also in a worker that ends without its interpreter's farewell."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
LEAKS = """
import socket

class Ring:
    pass

def test_nobody_closes_it():
    ring = Ring()
    ring.itself, ring.socket = ring, socket.socket()

def test_of_something_else():
    pass
"""
CLOSES = LEAKS.replace("ring, socket.socket()", "ring, socket.socket()\n    ring.socket.close()")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("text", "errors"), [(LEAKS, 1), (CLOSES, 0)], ids=["open", "closed"])
def test_an_open_socket_in_a_ring_of_objects_fails_the_last_test(pytester, workers, text, errors):
    folder = pytester.mkdir("tests")
    for name, there in (("conftest.py", folder), ("matrices.py", pytester.path)):
        shutil.copy(HERE / name, there)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    (folder / "test_it.py").write_text(text)
    ran = pytester.runpytest_subprocess("-p", "no:llmsim", f"-n{workers}", "tests/test_it.py")
    ran.assert_outcomes(passed=2, errors=errors)
    assert ran.ret == errors
    if errors:
        ran.stdout.fnmatch_lines(["*complained as it went*", "*unclosed <socket*"])
