"""A profile as the text of its file: every figure with the unit a scenario writes it with, and its source beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["as_yaml", "flow", "rounded", "written"]

#: Parameters of distributions that have no unit.
_PLAIN = ("weight", "shape", "cv", "probability")
_DURATIONS = ("ttft", "inter_token", "network", "answer_time")
_ONE_LINE = ("value", "input_tokens", "output_tokens")
_SERVING_COUNTS = ("slots", "batch_tokens")


def rounded(value: Any, unit: str) -> Any:
    """SI numbers of a distribution with four digits and their unit, as a scenario file writes them.

    Examples
    --------
    >>> rounded({"lognormal": {"p50": 0.41234567, "p99": 1.5}}, "s")
    {'lognormal': {'p50': '412.3ms', 'p99': '1.5s'}}
    >>> rounded(8.7123e-6, "s"), rounded(3e-15, "s")
    ('8.712us', '0ms')
    """
    if isinstance(value, Mapping):
        return {key: float(f"{v:.4g}") if key in _PLAIN else rounded(v, unit) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, unit) for item in value]
    if unit == "s" and value < 1e-4:  # what a token costs; below a nanosecond there is rounding
        return f"{value * 1e6:.4g}us" if value >= 1e-9 else "0ms"
    return f"{value * 1e3:.4g}ms" if unit == "s" and value < 1 else f"{value:.4g}{unit}"


def written(key: str, value: Any) -> Any:
    """A provider's setting in SI numbers, as a scenario file writes it.

    Examples
    --------
    >>> written("prefill", {"per_1k": 7.58, "pace": {"lognormal": {"p50": 1.0, "p99": 1.4}}})
    {'per_1k': '7.58s', 'pace': {'lognormal': {'p50': '1x', 'p99': '1.4x'}}}
    >>> written("rate_limit", {"tokens": 1666.6667, "window": 10.0, "retry_after": False})
    {'tokens': '100000/min', 'window': '10s', 'retry_after': False}
    >>> written("price", {"input": 1.5e-07, "output": 6e-07})
    {'input': '$0.15/Mtok', 'output': '$0.6/Mtok'}
    """
    if key in _DURATIONS:
        return rounded(value, "s")
    if key == "pace":
        return rounded(value, "x")
    if key == "prefill":
        return {name: rounded(one, "x" if name == "pace" else "s") for name, one in value.items()}
    if key == "serving":
        return {name: one if name in _SERVING_COUNTS else rounded(one, "s") for name, one in value.items()}
    if key == "errors":
        return {name: f"{100 * share:.4g}%" for name, share in value.items()}
    if key == "price":
        return {name: f"${1e6 * usd:.6g}/Mtok" for name, usd in value.items()}
    if key == "rate_limit":
        return {name: _limit(name, one) for name, one in value.items()}
    if key == "load":
        points = [
            {name: f"{100 * one:.4g}%" if name == "at" else f"{one:.4g}x" for name, one in point.items()}
            for point in value["points"]
        ]
        return {**value, "points": points}
    if key == "queue":
        return dict(value)
    if key in ("input_tokens", "output_tokens"):
        return _tokens(value)
    assert isinstance(value, str | int), f"no text for {key}"
    return value


def _limit(name: str, value: Any) -> Any:
    if name in ("retry_after", "requests_per_second"):
        return value
    return f"{value:g}s" if name == "window" else f"{float(f'{60 * value:.4g}'):.12g}/min"


def _tokens(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tokens(one) for key, one in value.items()}
    return float(f"{value:.4g}") if value % 1 else int(value)


def as_yaml(value: Mapping[str, Any], indent: int = 0) -> str:
    """Block style down to the figures, flow style (JSON without needless quotes) below."""
    lines = []
    for key, item in value.items():
        if isinstance(item, list) and indent == 0:
            lines.append(f"{key}:\n" + "".join(f"  - {flow(one)}\n" for one in item))
        elif isinstance(item, dict) and indent < 3 and key not in _ONE_LINE:
            lines.append("  " * indent + f"{key}:\n" + as_yaml(item, indent + 1))
        else:
            lines.append("  " * indent + f"{key}: {flow(item)}\n")
    return "".join(lines)


def flow(value: Any) -> str:
    """One value in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str) and not (value.replace(".", "").replace("_", "").isalnum() and value[0].isalpha()):
        units = value.rstrip("%xmus").replace(".", "", 1)
        return value if units.isdigit() and value != units else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.lower() in ("null", "true", "false", "yes", "no", "on", "off"):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
