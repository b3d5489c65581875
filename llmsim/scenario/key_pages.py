"""What a part of a scenario file can hold, for people: the JSON Schema that editors read, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.objectives import METRICS

__all__ = ["Key", "KeyPage", "key_page"]

_Node = dict[str, Any]
_POLICIES = (("gateway", "policies"), ("gateway", "upstream"))  # each kind has a page of its own


class Key(NamedTuple):
    """One key of a part."""

    name: str
    needed: bool
    default: str  #: as a file would say it; empty: none, or a part of its own
    examples: tuple[str, ...]
    text: str
    inner: bool  #: it is a part with keys of its own


class KeyPage(NamedTuple):
    """A part of a scenario file."""

    path: str
    text: str
    keys: tuple[Key, ...]


def key_page(path: str = "") -> KeyPage:
    """What stands at a path of keys: ``faults``, ``faults.abort``, ``traffic.mix``; empty: the file itself.

    Names of one's own (of a provider) may stand in it or be left out.

    Raises
    ------
    LookupError
        There is no such key, or it has none below it; with the nearest that there is.

    Examples
    --------
    >>> [key.name for key in key_page("faults.latency").keys]
    ['multiplier']
    """
    from llmsim.scenario.jsonschema import json_schema

    root = json_schema()
    found, text, gone = [root], root["description"], ""
    for part in filter(None, path.split(".")):
        known = {name: node for part_ in found for name, node in part_["properties"].items()}
        if part not in known:
            if gone == "providers":  # a name of one's own: what it holds is there already
                gone = f"providers.{part}"
                continue
            kind = path.removeprefix("gateway.").removeprefix("upstream.").partition(".")[0]
            near = get_close_matches(part, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            if gone in ("", "gateway") and kind in policy_kinds():  # as --set would have it
                hint = f"What a policy takes: llmsim policies {kind}"
            raise LookupError(f"{gone or 'a scenario'} has no key {part!r}. {hint}")
        gone, node = f"{gone}.{part}".lstrip("."), known[part]
        if tuple(gone.split(".")) in _POLICIES:
            raise LookupError(f"{gone} takes policies: `llmsim policies` lists them.")
        if gone in ("slo", "steady_state"):
            raise LookupError(f'{gone} takes metrics with lines, ttft: ["p(95) < 2s"]. Known: {", ".join(METRICS)}.')
        text, found = node.get("description", ""), list(_parts(node, root))
        if not found:
            raise LookupError(f"{gone} has no keys below it. {_sentence(node, text)}".rstrip())
    keys = [
        _key(name, node, name in part_.get("required", ()), root)
        for part_ in found
        for name, node in part_["properties"].items()
    ]
    own = found[0].get("description", "")
    return KeyPage(path, "\n".join(dict.fromkeys(one for one in (text, own) if one)), tuple(keys))


def _parts(node: _Node, root: _Node) -> Iterator[_Node]:
    """The objects with keys of their own that can stand for a node, through references, choices, lists and names."""
    if "$ref" in node:
        place, name = node["$ref"].split("/")[1:]
        if place != "definitions":  # distributions: written in many ways, and not looked into
            yield from _parts(root[place][name], root)
    elif "properties" in node:
        yield node
    for inner in (*node.get("anyOf", ()), node.get("items"), node.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _parts(inner, root)


def _key(name: str, node: _Node, needed: bool, root: _Node) -> Key:  # noqa: FBT001 - of a row
    default = node.get("default")
    plain = "" if default is None or isinstance(default, dict | list) else str(default)
    if isinstance(default, bool):
        plain = str(default).lower()
    examples = [str(one) for choice in (node, *node.get("anyOf", ())) for one in choice.get("examples", ())]
    words = [str(one) for choice in (node, *node.get("anyOf", ())) for one in choice.get("enum", ()) if one != ""]
    return Key(name, needed, plain, tuple(words or examples), node.get("description", ""), any(_parts(node, root)))


def _sentence(node: _Node, text: str) -> str:
    examples = " or ".join(map(str, node.get("examples", ())))
    return f"{text} Write it like {examples}." if examples else text
