"""Reading scenario files: text in, a checked `Scenario` or every problem at once out.

The only home of the YAML library. It only parses: what its events mean is up to `llmsim.scenario.nodes`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.document import Document, Spot
from llmsim.scenario.missing import missing_scenario
from llmsim.scenario.nodes import Builder, Refused, refuse
from llmsim.scenario.overrides import apply_overrides
from llmsim.scenario.spec import Scenario
from llmsim.scenario.validate import validated
from llmsim.scenario.yaml_words import syntax_problem
from llmsim.traffic.prompts import prompt_log
from llmsim.traffic.replay import replayed
from llmsim.traffic.similarity import CORPORA, similarity_tables

__all__ = ["load_scenario", "parse_scenario", "read_document", "read_value"]

# A long scenario has some kB; this bound is there so that the wrong file, or a hostile one, is refused in seconds.
MAX_BYTES = 256_000


def load_scenario(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Scenario:
    """Read and check a scenario.

    Parameters
    ----------
    source
        Path of a YAML file, or a mapping of the same form.
    overrides
        ``path=value`` texts as `--set` takes them.

    Raises
    ------
    ScenarioError
        With all problems, their line and column, and what to type instead.

    Examples
    --------
    >>> load_scenario({"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"openai": {}}}).traffic.base_rate
    4.0
    """
    if isinstance(source, Mapping):
        return _checked(Document(_plain(source), "scenario"), [], overrides)
    path = Path(source)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise missing_scenario(path) from None
    except IsADirectoryError:
        raise ScenarioError([Problem("this is a directory", hint="Name a file in it.")], str(source)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ScenarioError([Problem(f"cannot be read: {error}")], str(source)) from None
    scenario, folder = _with_trace(parse_scenario(content, str(source), overrides), path.parent), path.parent
    return _with_prompts(_with_similarity(scenario, folder), folder)


def _with_trace(scenario: Scenario, folder: Path) -> Scenario:
    """With the name of a trace as the scenario file means it, and the trace read, so that its errors show now."""
    spec = scenario.traffic.trace
    if spec is None:
        return scenario
    found = spec.below(folder)
    problems = []
    for number, part in enumerate((found, *found.then)):
        if not Path(part.file).exists():
            place = ("traffic", "trace", *(("then", number - 1) if number else ()), "file")
            beside = [p.name for p in Path(part.file).parent.glob("*")]
            near = get_close_matches(Path(part.file).name, beside, n=1)
            hint = f"Did you mean {Path(part.file).parent / near[0]}?" if near else "It is relative to this file."
            problems.append(scenario.source.problem(place, f"there is no {part.file}", hint))
    if problems:
        raise ScenarioError(problems, scenario.source.source)
    replayed(found)
    return dataclasses.replace(scenario, traffic=dataclasses.replace(scenario.traffic, trace=found))


def _with_similarity(scenario: Scenario, folder: Path) -> Scenario:
    """With the name of a file of similarities as the scenario file means it, and the file read."""
    topics = scenario.traffic.topics
    if topics is None or topics.similarity in CORPORA:
        return scenario
    found = dataclasses.replace(topics, similarity=str(folder / topics.similarity))
    if not Path(found.similarity).exists():
        known = [*CORPORA, *(p.name for p in folder.glob("*.json"))]
        near = get_close_matches(topics.similarity, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Write {' or '.join(CORPORA)}, or a file relative to this one."
        place = ("traffic", "topics", "similarity")
        raise ScenarioError(
            [scenario.source.problem(place, f"there is no {found.similarity}", hint)], scenario.source.source
        )
    similarity_tables(found.similarity)
    return dataclasses.replace(scenario, traffic=dataclasses.replace(scenario.traffic, topics=found))


def _with_prompts(scenario: Scenario, folder: Path) -> Scenario:
    """With the name of a file of prompts as the scenario file means it, and the file read, so that its errors show."""
    topics = scenario.traffic.topics
    if topics is None or topics.prompts is None:
        return scenario
    file = folder / topics.prompts
    if not file.exists():
        near = get_close_matches(file.name, [p.name for p in file.parent.glob("*")], n=1)
        hint = f"Did you mean {file.parent / near[0]}?" if near else "It is relative to this file."
        problem = scenario.source.problem(("traffic", "topics", "prompts"), f"there is no {file}", hint)
        raise ScenarioError([problem], scenario.source.source)
    prompt_log(file)
    found = dataclasses.replace(topics, prompts=str(file))
    return dataclasses.replace(scenario, traffic=dataclasses.replace(scenario.traffic, topics=found))


def parse_scenario(text: str | bytes, source: str = "scenario", overrides: Sequence[str] = ()) -> Scenario:
    """Check a scenario given as YAML text.

    Parameters
    ----------
    text
        The YAML.
    source
        What messages call it.
    overrides
        ``path=value`` texts as `--set` takes them.

    Raises
    ------
    ScenarioError
        With all problems.
    """
    document, problems = read_document(text, source)
    return _checked(document, problems, overrides)


def _checked(document: Document, problems: list[Problem], overrides: Sequence[str]) -> Scenario:
    scenario = validated(document, problems)
    if not overrides:
        return scenario
    changed = apply_overrides(document, overrides, read_value)
    try:
        return validated(changed.document)
    except ScenarioError as error:
        raise changed.explain(error) from None


def _plain(value: Any) -> Any:
    """Mappings and sequences copied into dicts and lists, so that a document can be changed."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_plain(item) for item in value]
    return value


def read_value(text: str) -> Any:
    """The right side of an override, as YAML."""
    document, problems = read_document(text, "--set", top_level_mapping=False)
    if problems:
        raise ScenarioError(problems, "--set")
    return document.data


def read_document(
    text: str | bytes, source: str = "scenario", *, top_level_mapping: bool = True
) -> tuple[Document, list[Problem]]:
    """YAML as a `Document`, with the problems one can go on after (duplicate keys, tags, dates).

    Raises
    ------
    ScenarioError
        Where one cannot: not text, not YAML, several documents, no mapping at the top, too big.
    """
    try:
        document, problems = _parsed(_decoded(text), top_level_mapping=top_level_mapping)
        # Whoever gets it may change what is in it.
        return dataclasses.replace(document, data=copy.deepcopy(document.data), source=source), [*problems]
    except Refused as refused:
        raise ScenarioError([refused.problem], source) from None
    except MarkedYAMLError as error:
        raise ScenarioError([syntax_problem(error)], source) from None
    except (YAMLError, ValueError) as error:  # ValueError: a %YAML directive that is no number
        message = " ".join(str(error).split())
        raise ScenarioError([Problem(f"cannot be read as YAML: {message}", "", 1, 1)], source) from None


@lru_cache(maxsize=16)  # a file is read again for each run, check and picture of it, and parsing is most of that
def _parsed(text: str, *, top_level_mapping: bool) -> tuple[Document, list[Problem]]:
    yaml = YAML(typ="safe", pure=True)
    builder = Builder(lambda value, implicit: str(yaml.resolver.resolve(ScalarNode, value, implicit)))
    for event in yaml.parse(text):
        builder.feed(event)
    return builder.document(top_level_mapping=top_level_mapping)


def _decoded(content: str | bytes) -> str:
    size = len(content)
    if size > MAX_BYTES:
        refuse(f"{size:,} bytes are no scenario", f"Keep it below {MAX_BYTES:,}.")
    if isinstance(content, bytes):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start]
            spot = Spot(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
            refuse("this is not text in UTF-8", "Give a YAML file; save it as UTF-8.", spot)
    else:
        text = content
    bad = next((i for i, c in enumerate(text) if c < " " and c not in "\t\n\r"), None)
    if bad is not None:
        spot = Spot(text.count("\n", 0, bad) + 1, bad - text.rfind("\n", 0, bad))
        refuse(f"a control character ({text[bad]!r}) stands here", "Give a YAML file; remove the character.", spot)
    return text
