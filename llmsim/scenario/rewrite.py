"""Other values in a scenario's text, and every byte around them as it was: comments, line breaks, quotes.

The text is parsed for where things stand, and only these places are written over. What comes out is read again before
it is handed out, and has to be the scenario that was wanted.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from llmsim.errors import LlmsimError, ScenarioError
from llmsim.scenario.document import Document, Path, dotted
from llmsim.scenario.imports.splice import spliced
from llmsim.scenario.load import parse_scenario, read_document
from llmsim.scenario.overrides import change, resolve
from llmsim.scenario.spec import Scenario

__all__ = ["rewritten"]

_WORD = re.compile(r"[A-Za-z$][\w./%$+-]*|\d[\d.]*[a-z%/][\w./%]*|\$\d[\w./]*")
#: Words that YAML takes for something else.
_TAKEN = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}
#: How a bare number of Python, in SI, may have to be written in a file, where values carry their unit.
_UNITS = ("{}", "{}s", "{}x", "{}/s", "${}", "{}B", "${}/tok")


def rewritten(text: str, values: Mapping[str, Any], gone: Sequence[str], wanted: Scenario, source: str) -> str:
    r"""A scenario's text with the values at these paths replaced, and without these policies and faults.

    Parameters
    ----------
    text
        The scenario.
    values
        By path, as `Scenario.with_values` takes them.
    gone
        Paths of policies and faults to leave out.
    wanted
        What the text is to say in the end.
    source
        What messages call the scenario.

    Raises
    ------
    LlmsimError
        It cannot be written so that it says that.

    Examples
    --------
    >>> text = "version: 1\ntraffic: {base_rate: 4/s}  # chosen\nproviders: {a: {}}\n"
    >>> wanted = parse_scenario(text).with_values({"traffic.base_rate": "6/s"})
    >>> print(rewritten(text, {"traffic.base_rate": "6/s"}, [], wanted, "scenario"), end="")
    version: 1
    traffic: {base_rate: 6/s}  # chosen
    providers: {a: {}}
    """
    document, problems = read_document(text, source)
    if problems:
        raise ScenarioError(problems, source)
    if document.get(("gateway", "preset")) and any(
        path.startswith(("gateway", "upstream")) for path in [*values, *gone]
    ):
        result = _preset_written_out(text, document, values, gone, wanted, source)
    else:
        result = text
        for path, value in values.items():
            result = _in_its_unit(result, path, value, wanted, source)
        for path in gone:
            result = _without(result, path, source)
    if _policies_alone(parse_scenario(result, source)) != _policies_alone(wanted):
        raise LlmsimError(f"{source}: the values cannot be written into this file so that it says what was found")
    return result


def _policies_alone(scenario: Scenario) -> Scenario:
    """Without the name of the preset, which says nothing more once its policies are written out."""
    return dataclasses.replace(scenario, gateway=dataclasses.replace(scenario.gateway, preset=""))


# -- one value ---------------------------------------------------------------------------------------------------


def _in_its_unit(text: str, path: str, value: Any, wanted: Scenario, source: str) -> str:
    """With the value at a path, in the first spelling that means the same."""
    bare = isinstance(value, int | float) and not isinstance(value, bool)
    errors: list[ScenarioError] = []
    for form in _UNITS if bare else ("{}",):
        spelled = form.format(_number(value)) if bare else _spelled(value)
        changed = _with_value(text, path, spelled, source)
        try:
            there = parse_scenario(changed, source)
        except ScenarioError as error:
            errors.append(error)
            continue
        if there == wanted or there == parse_scenario(text, source).with_values({path: value}):
            return changed
    raise errors[0] if errors else LlmsimError(f"{source}: {path} cannot be written as {value!r}")


def _number(value: float) -> str:
    return repr(value) if isinstance(value, int) else repr(float(value)).removesuffix(".0")


def _spelled(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, str):
        return (
            value if _WORD.fullmatch(value) and value.lower() not in _TAKEN else json.dumps(value, ensure_ascii=False)
        )
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_spelled(one) for one in value) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else _number(value)


def _with_value(text: str, path: str, spelled: str, source: str) -> str:
    place = resolve(read_document(text, source)[0], path)
    node, rest = _walk(_root(text), place)
    if not rest:
        return _replaced(text, node, spelled, path, source)
    for part in reversed(rest[1:]):
        spelled = f"{{{part}: {spelled}}}"
    entry = f"{rest[0]}: {spelled}"
    if not isinstance(node, MappingNode):  # a bare word, or a key with nothing behind it
        return text[: node.start_mark.index] + _gap(text, node) + f"{{{entry}}}" + text[node.end_mark.index :]
    if node.flow_style and node.value:
        end = node.value[-1][1].end_mark.index
        return f"{text[:end]}, {entry}{text[end:]}"
    if node.flow_style:
        end = node.end_mark.index - 1
        return f"{text[:end]}{entry}{text[end:]}"
    first = node.value[0][0].start_mark
    line_end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[: first.index]}{entry}{line_end}{' ' * first.column}{text[first.index :]}"


def _replaced(text: str, node: Any, spelled: str, path: str, source: str) -> str:
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style:
        raise LlmsimError(f"{source}: {path} is written over several lines; write it in brackets, or change it by hand")
    return text[: node.start_mark.index] + _gap(text, node) + spelled + text[node.end_mark.index :]


def _gap(text: str, node: Any) -> str:
    """A space where nothing stood behind the colon."""
    start = node.start_mark.index
    return " " if start == node.end_mark.index and text[start - 1 : start] == ":" else ""


def _root(text: str) -> Any:
    return YAML(typ="safe", pure=True).compose(text)


def _walk(node: Any, place: Path) -> tuple[Any, Path]:
    """The node at a place, or the last there is on the way, and what is left of the way."""
    for number, part in enumerate(place):
        if isinstance(node, MappingNode):
            found = next((value for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, SequenceNode):
            found = node.value[part] if isinstance(part, int) and part < len(node.value) else None
        else:
            found = None
        if found is None:
            rest = place[number:]
            if isinstance(node, ScalarNode) and node.value and node.value != str(rest[0]):
                raise LlmsimError(f"{dotted(place[:number])} has no parts to write into")
            return node, rest
        node = found
    return node, ()


# -- a policy less -----------------------------------------------------------------------------------------------


def _without(text: str, path: str, source: str) -> str:
    place = resolve(read_document(text, source)[0], path)
    within = 1 if place[0] == "faults" else 2
    listed, _ = _walk(_root(text), place[:within])
    index = place[within]
    assert isinstance(listed, SequenceNode) and isinstance(index, int)
    items = listed.value
    item = items[index]
    if listed.flow_style:
        begin = items[index - 1].end_mark.index if index else item.start_mark.index
        end = item.end_mark.index if index or len(items) == 1 else items[1].start_mark.index
        return text[:begin] + text[end:]
    lines = text.splitlines(keepends=True)
    begin = item.start_mark.line
    if len(items) == 1:
        indent = " " * (listed.start_mark.column + 2)  # deeper than its key, which may stand in the column of the dash
        return "".join([*lines[:begin], indent, "[]\n", *lines[_end_line(item) :]])
    return "".join([*lines[:begin], *lines[_end_line(item) :]])


def _end_line(node: Any) -> int:
    """The line after the last one of a node: what stands behind it, comments too, belongs to what follows."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line) + 1


# -- a preset ----------------------------------------------------------------------------------------------------


def _preset_written_out(
    text: str, document: Document, values: Mapping[str, Any], gone: Sequence[str], wanted: Scenario, source: str
) -> str:
    """With the policies of the preset in its place: they have other values now, so it is no longer the preset."""
    first, base = text, parse_scenario(text, source)
    outside = {path: value for path, value in values.items() if not path.startswith(("gateway", "upstream"))}
    for path, value in outside.items():
        first = _in_its_unit(first, path, value, wanted, source)
    inside: dict[str, Any] = {}
    for path, value in values.items():
        if path not in outside:
            inside[path] = _for_file(document, path, value, base.with_values({path: value}), source)
    changed = change(document, inside).document
    data = changed.data["gateway"]
    policies = [path for path in gone if path.startswith(("gateway", "upstream"))]
    for path in gone:
        if path not in policies:
            first = _without(first, path, source)
    for place in sorted((resolve(changed, path) for path in policies), key=lambda place: -_index(place)):
        del data[str(place[1])][_index(place)]
    lines = [f"gateway:  # {data.get('preset')}, written out and changed"]
    for key, value in data.items():
        if key in ("policies", "upstream") and value:
            lines += [f"  {key}:", *(f"    - {_spelled(entry)}" for entry in value)]
        elif key != "preset":
            lines.append(f"  {key}: {_spelled(value)}")
    return spliced(first, {"gateway": "\n".join(lines) + "\n"}, source)


def _index(place: Path) -> int:
    index = place[2]
    assert isinstance(index, int)
    return index


def _for_file(document: Document, path: str, value: Any, wanted: Scenario, source: str) -> Any:
    """A value as a file has to write it."""
    from llmsim.scenario.validate import validated

    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    for form in _UNITS:
        spelled: Any = value if form == "{}" else form.format(_number(value))
        try:
            if validated(change(document, {path: spelled}).document) == wanted:
                return spelled
        except ScenarioError:
            continue
    raise LlmsimError(f"{source}: {path} cannot be written as {value!r}")
