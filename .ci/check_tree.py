"""What no tracked file may be: big, long, or a telltale of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MOST_BYTES = 1_000_000
MOST_LINES = 400  # of Python

#: Somebody's checkout, home or kernel. Followed by a name: a mention of the directory as such is none.
MACHINE = re.compile(r"(?:/work/(?:main|shared)|/root|/home|/Users)/[\w.]|/tmp/ipykernel_\d")

#: At the top of the project there is nothing but these, and dot-files.
TOP = {"CHANGELOG.md", "LICENSE", "README.md", "llmsim", "notebooks", "pyproject.toml", "scenarios", "tests"}


def problems(path: Path) -> list[str]:
    """What is wrong with one file."""
    content = path.read_bytes()
    found = [f"{len(content):,} bytes, more than {MOST_BYTES:,}"] if len(content) > MOST_BYTES else []
    if b"\0" in content:
        return found
    lines = content.decode("utf-8", "replace").splitlines()
    if path.suffix == ".py" and len(lines) > MOST_LINES:
        found.append(f"{len(lines)} lines, more than {MOST_LINES}")
    found += [f"line {number}: {hit[0]}… is a path of some machine" for number, line in enumerate(lines, 1)
              if (hit := MACHINE.search(line))]  # fmt: skip
    return found


def main() -> int:
    """Print every problem; 1 if there is one."""
    tracked = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout  # noqa: S607 - the one on the path
    paths = [Path(name) for name in tracked.split("\0") if name and Path(name).is_file()]
    said = [f"{path}: {what}" for path in paths for what in problems(path)]
    tops = sorted({path.parts[0] for path in paths if not path.parts[0].startswith(".")} - TOP)
    said += [f"{name}: does not belong to the top level" for name in tops]
    print("\n".join(said) or f"{len(paths)} files are fine")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
