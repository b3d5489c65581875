"""The last line of a CI run: ``N passed, N failed, N skipped``, over all tests and all other steps.

``python closing_line.py STEPS FAILED_STEPS JUNIT.xml…``
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def main() -> None:
    """Add up and print."""
    steps, failed_steps = int(sys.argv[1]), int(sys.argv[2])
    total: Counter[str] = Counter()
    reports = [Path(name) for name in sys.argv[3:] if Path(name).exists()]
    for report in reports:
        for suite in ET.parse(report).iter("testsuite"):  # noqa: S314 - pytest wrote it a moment ago
            for kind in ("tests", "failures", "errors", "skipped"):
                total[kind] += int(suite.get(kind, 0))
    failed = total["failures"] + total["errors"]
    # A step that failed is counted by its tests if it had any that failed, else by itself.
    failed = max(failed, failed_steps)
    passed = total["tests"] - total["failures"] - total["errors"] - total["skipped"] + steps - failed_steps
    print(f"{passed} passed, {failed} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    main()
