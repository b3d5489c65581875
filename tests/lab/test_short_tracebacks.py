"""What a cell shows of an error in the code of a policy: that code, in a real IPython."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CELLS = r'''
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_line_magic("colors", "NoColor")
SMALL = {
    "version": 1,
    "replications": 1,
    "clock": {"duration": "2s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {}},
}
shell.run_cell(f"import time\nimport llmsim as ls\nSMALL = {SMALL}")
POLICY = """
@ls.policy
async def mine(request, call_next):
    %s
    return await call_next(request)

ls.run(ls.load(SMALL).with_gateway([mine]))
"""
for line in ("{}['nothing']", "time.sleep(1)"):
    print("@@@")
    shell.run_cell(POLICY % line)
print("@@@")
shell.run_line_magic("xmode", "Verbose")
shell.run_cell(POLICY % "{}['nothing']")
print("@@@")
shell.run_line_magic("xmode", "Context")
shell.run_cell("ls.run('no-such-file.yaml')")
'''


def test_only_the_lines_of_the_user_are_shown_unless_all_are_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", CELLS], capture_output=True, text=True, timeout=120, check=True, stdin=subprocess.DEVNULL
    )
    _, raised, slept, verbose, ours = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).split("@@@")
    for shown, line in ((raised, r"\{\}\['nothing'\]"), (slept, r"time\.sleep\(1\)")):
        assert re.search(rf"-> \d+ +{line}", shown), shown
        assert re.search(r"-> \d+ +ls\.run\(", shown), shown
        assert "llmsim/" not in shown and len(shown.splitlines()) < 30, shown
    assert "KeyError: 'nothing'" in raised
    assert "PolicyError: policy 'mine'" in raised.splitlines()[-1]
    assert "VirtualTimeError: time.sleep() inside a simulation" in slept.splitlines()[-1]
    assert "checked.py" in verbose and len(verbose.splitlines()) > 60
    assert "api.py" in ours, "what is not about a policy is shown as ever"
