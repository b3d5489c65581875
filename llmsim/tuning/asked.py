"""What is asked: what two tunings (or sweeps) must have in common for the results of one to be those of the other."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim import __version__
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values

__all__ = ["asked", "differing", "digest"]

#: Of a scenario, what changes no run. The seed is told apart, so that a message can name it.
_BESIDE = ("name", "description", "replications", "expect", "seed")
#: What the parts are called where they differ.
_WORDS = {
    "version": "llmsim's version",
    "scenario": "the scenario",
    "seed": "the seed",
    "varies": "what varies",
    "measured": "what is measured",
}


def asked(scenarios: Sequence[Scenario], varies: Any, measured: Sequence[str]) -> dict[str, Any]:
    """What replications depend on: the scenarios, the code and the files they use, and this version of llmsim.

    Not among it are the number of replications and of trials, which can be raised later, and of processes.

    Parameters
    ----------
    scenarios
        That are run, all under the seed of the first.
    varies
        Whatever names the settings; JSON.
    measured
        The numbers of a replication, in order.
    """
    told = [
        [{key: value for key, value in to_values(one).items() if key not in _BESIDE}, _files(one)] for one in scenarios
    ]
    return {
        "version": __version__,
        "scenario": digest(told),
        "seed": scenarios[0].seed,
        "varies": varies,
        "measured": list(measured),
    }


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """In what two of them differ; empty: in nothing.

    Examples
    --------
    >>> differing({"seed": 1, "varies": "a"}, {"seed": 2, "varies": "b"})
    'the seed, what varies differ'
    """
    parts = [word for key, word in _WORDS.items() if one.get(key) != other.get(key)]
    return f"{', '.join(parts)} differ{'s' if len(parts) == 1 else ''}" if parts else ""


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that stand for a value."""
    text = json.dumps(value, default=_code, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(value: Any) -> Any:
    """Policies and gateways of one's own, by name and source text."""
    kind = value if inspect.isfunction(value) or inspect.isclass(value) else type(value)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # typed into a shell
        source = ""
    if value is kind:
        return [value.__name__, source]
    # Not where it lies in memory, which is another place next time.
    text: Any = type(value).__repr__
    settings = vars(value) if text is object.__repr__ and hasattr(value, "__dict__") else repr(value)
    return [kind.__name__, str(settings), source]


def _files(scenario: Scenario) -> list[str]:
    """Digests of the files that a scenario reads."""
    trace, topics = scenario.traffic.trace, scenario.traffic.topics
    names = [part.file for part in (trace, *trace.then)] if trace is not None else []
    names += [str(name) for name in (topics.prompts, topics.similarity) if name] if topics is not None else []
    return [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names if Path(name).is_file()]
