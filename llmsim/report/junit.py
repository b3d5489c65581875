"""What a check found as JUnit XML: a test suite a scenario, a test case an SLO line.

Keeps to what Jenkins's schema (xunit plugin, junit-10.xsd) allows, which GitLab and most others read too: measured
values are properties of the suite, since its test cases may have none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

__all__ = ["to_junit"]

Page = Mapping[str, Any]

_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2 (Char)


def to_junit(pages: Sequence[Page], *, allow_undecided: bool = False) -> str:
    """The XML of a check.

    Parameters
    ----------
    pages
        One a file, as ``llmsim check --json`` has them.
    allow_undecided
        Whether an undecided line is no failure.
    """
    root = ET.Element("testsuites", name="llmsim")
    totals = {"tests": 0, "failures": 0, "errors": 0}
    seconds = 0.0
    names = [str(page.get("scenario") or page["file"]) for page in pages]
    for page, name in zip(pages, names, strict=True):
        # Two files may call their scenarios alike; readers take test cases of one name for the same one.
        own = name if names.count(name) == 1 else f"{name} ({page['file']})"
        suite = _suite(page, own, allow_undecided=allow_undecided)
        root.append(suite)
        for total in totals:
            totals[total] += int(suite.attrib[total])
        seconds += float(suite.attrib["time"])
    root.attrib |= {name: str(number) for name, number in totals.items()} | {"time": f"{seconds:.3f}"}
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _legal(ET.tostring(root, encoding="unicode")) + "\n"


def _suite(page: Page, name: str, *, allow_undecided: bool) -> ET.Element:
    lines = page.get("slo", [])
    allow_undecided |= page["verdict"] == "EXPECTED"  # what was to break broke; nobody asked about the others
    suite = ET.Element("testsuite", name=name, file=str(page["file"]), time=f"{page.get('wall_s', 0.0):.3f}")
    properties = ET.SubElement(suite, "properties")
    for key in ("seed", "replications", "event_hash", "replay"):
        if page.get(key) is not None:
            ET.SubElement(properties, "property", name=key, value=str(page[key]))
    for number, line in enumerate(lines, 1):
        for key in ("measured", "interval"):
            ET.SubElement(properties, "property", name=f"slo.{number}.{key}", value=_plain(line[key]))
    failures = errors = skipped = 0
    titles: Counter[str] = Counter()
    for line in lines:
        title = f"{line['metric']} {line['expression']}"
        titles[title] += 1
        again = f" ({titles[title]})" if titles[title] > 1 else ""
        case = ET.SubElement(suite, "testcase", classname=name, name=title + again)
        told = f"{line['shown']}{'; ' + line['reason'] if line['reason'] else ''}"
        if line["verdict"] == "FAIL" or (line["verdict"] == "UNDECIDED" and not allow_undecided):
            failures += 1
            broken = ET.SubElement(case, "failure", message=f"measured {told}", type=line["verdict"])
            broken.text = _story(page, line)
        elif line["verdict"] == "UNDECIDED":
            skipped += 1
            ET.SubElement(case, "skipped", message=f"undecided: {told}")
        ET.SubElement(case, "system-out").text = f"measured {told}"
    if page["verdict"] in ("ERROR", "NOT RUN") or not lines:
        case = ET.SubElement(suite, "testcase", classname=name, name="runs")
        if page["verdict"] == "ERROR":
            errors += 1
            problem = ET.SubElement(case, "error", message=_problems(page)[:500], type=str(page["error"]))
            problem.text = _problems(page)
        elif page["verdict"] == "NOT RUN":
            skipped += 1
            ET.SubElement(case, "skipped", message=str(page.get("reason", "not run")))
    counts = {"tests": max(len(lines), 1), "failures": failures, "errors": errors, "skipped": skipped}
    suite.attrib |= {key: str(number) for key, number in counts.items()}
    return suite


def _story(page: Page, line: Mapping[str, Any]) -> str:
    where = f"{page['file']}:{line['line']}" if line["line"] else str(page["file"])
    return "\n".join([where, *page.get("advice", []), f"The same again: {page.get('replay', '')}"])


def _problems(page: Page) -> str:
    return "\n".join(
        f"{page['file']}:{problem['line'] or ''} {problem['message']}. {problem['hint'] or ''}".strip()
        for problem in page.get("problems", [])
    )


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " … ".join(map(_plain, value))
    return "" if value is None else str(value)


def _legal(text: str) -> str:
    """With a mark for every character that XML cannot say, not even escaped."""
    return _FORBIDDEN.sub("\ufffd", text)
