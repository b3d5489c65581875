"""A planned gateway as text: YAML with the origin of every setting behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from llmsim.scenario.imports.plan import Note, Plan, PolicyPlan, Said
from llmsim.scenario.imports.source import shown
from llmsim.scenario.load import read_value

__all__ = ["note_line", "sections_of", "written"]

_WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z0-9$][\w./%$+-]*")
_MARKS = {"not expressed": "!", "unknown key": "!", "approximated": "~", "chosen": "~", "not copied": "-"}
#: The pattern of requests is not the gateway's affair, and a scenario has to have one.
_TRAFFIC = """\
# Nothing in the source says what the traffic is like: put your own here (1/s is a placeholder).
traffic: {base_rate: 1/s}
"""


def note_line(note: Note) -> str:
    """``! line 12 router_settings.foo: unknown key: …``."""
    where = f"line {note.line} " if note.line is not None else ""
    path = f"{note.path}: " if note.path else ""
    return f"{_MARKS[note.kind]} {where}{path}{note.kind}: {note.text}"


def written(plan: Plan, source: str) -> str:
    """A whole scenario."""
    head = "\n".join(f"# {line}".rstrip() for line in _head(plan, source))
    parts = sections_of(plan, source)
    text = f"{head}\nversion: 1\nname: {_scalar(plan.name)}\n\n{_TRAFFIC}\n{parts['providers']}\n{parts['gateway']}"
    return text if text.endswith("\n") else text + "\n"


def _head(plan: Plan, source: str) -> Iterable[str]:
    about = "Behind each setting stands where it comes from: a line of that file, or a default."
    copied = "Keys, addresses and headers are not copied."
    yield from wrap(f"Imported from {source} ({_called(plan)}). {about} {copied}", _WIDTH - 2, break_long_words=False)
    if plan.notes:
        yield ""
        yield "What is not as it is there (! left out, ~ not quite the same, - without effect on a simulation):"
        for note in plan.notes:
            yield from wrap(note_line(note), _WIDTH - 2, subsequent_indent="    ", break_long_words=False)


def _called(plan: Plan) -> str:
    return f"LiteLLM, model group {shown(plan.name)}" if plan.format == "litellm" else "Portkey"


def sections_of(plan: Plan, source: str) -> dict[str, str]:
    """The text of ``providers:`` and of ``gateway:``, each ending in a line break."""
    providers = ["providers:"]
    for name, settings in plan.providers.items():
        providers += [f"  {_scalar(name)}:" if settings else f"  {_scalar(name)}: {{}}", *_settings(settings, 4)]
    gateway = [f"gateway:  # from {source} ({_called(plan)})"]
    if not plan.policies and not plan.upstream:
        gateway = [f"gateway: {{}}  # from {source} ({_called(plan)}): it has no policies"]
    for scope, entries in (("policies", plan.policies), ("upstream", plan.upstream)):
        if entries:
            gateway += [f"  {scope}:", *(line for entry in entries for line in _policy(entry))]
    return {"providers": "\n".join(providers) + "\n", "gateway": "\n".join(gateway) + "\n"}


def _policy(entry: PolicyPlan) -> list[str]:
    return [f"    - {entry.kind}:", *_settings(entry.settings, 8)]


def _settings(settings: dict[str, Said], indent: int) -> list[str]:
    lines = []
    for key, said in settings.items():
        why = " ".join(said.why.split())
        line = f"{' ' * indent}{key}: {_value(said.value)}"
        if why and len(line) + len(why) + 4 > _WIDTH:
            lines.append(f"{' ' * indent}# {why}")
        elif why:
            line += f"  # {why}"
        lines.append(line)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar that reads as what it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and read_value(text) == text:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
