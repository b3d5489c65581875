"""A fit as the file of a profile, which scenarios use by ``profile: FILE``: figures, sources, and how good it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from llmsim.calibrate.profile_text import as_yaml, rounded, written
from llmsim.calibrate.upstream import Fitted, HeldOut
from llmsim.calibrate.words import seen
from llmsim.report.reality.told import signed, size
from llmsim.units import counted

__all__ = ["profile_document", "profile_yaml", "write_profile"]

_HEAD = "# Made by llmsim calibrate. In a scenario: providers: {%s: {profile: %s}}\n"


def profile_document(fitted: Fitted, *, name: str, date: str, of: str) -> dict[str, Any]:
    """The content of the file, in the form of `llmsim.providers.profiles.Profile`.

    Parameters
    ----------
    name
        What to call it.
    date
        When it was measured, as ISO 8601 has it.
    of
        What the figures were measured on: a log's file, or whom a probe called.
    """
    from llmsim import __version__

    figures = {}
    for key, word in fitted.words.items():
        told = [
            f"95 %: {low} to {high} ({figure})"
            for figure, low, high in _intervals(fitted)
            if figure.partition(".")[0] == key
        ]
        source: dict[str, Any] = {"how": word.how, "of": of, "date": date, "n": word.n}
        note = "; ".join([*told, *([word.note] if word.note else [])])
        figures[key] = {"value": written(key, word.value), "source": {**source, **({"note": note} if note else {})}}
    n = len(fitted.calls.sent_s)
    whole = {
        "name": name,
        "date": date,
        "description": f"{fitted.upstream}, measured on {counted(n, 'call')}: "
        f"{fitted.chosen} model. {_errors(fitted.held_out)}.",
        "figures": figures,
        "missing": dict(fitted.missing),
        "seen": {key: written(key, value) for key, value in seen(fitted.calls).items()},
        "notes": [*_comparison(fitted), *fitted.notes, f"llmsim {__version__}, seed {fitted.seed}"],
    }
    return {key: value for key, value in whole.items() if value}


def _intervals(fitted: Fitted) -> list[tuple[str, str, str]]:
    return [(name, rounded(low, "s"), rounded(high, "s")) for name, (low, high) in fitted.intervals.items()]


def _errors(found: HeldOut) -> str:
    return (
        f"Held-out calls: TTFT {size(found.ttft.mdape)} off (median; bias {signed(found.ttft.bias)}), "
        f"to the end {size(found.e2e.mdape)} ({signed(found.e2e.bias)})"
    )


def _comparison(fitted: Fitted) -> list[str]:
    """What each model achieved."""
    told = []
    for one in fitted.candidates:
        if one.held_out is not None:
            ks_ttft, ks_e2e, band = one.held_out.ks
            ks = f"KS {ks_ttft:.2f} and {ks_e2e:.2f}, of which {band:.2f} can be chance"
            told.append(f"{one.name}{' (chosen)' if one.name == fitted.chosen else ''}: {_errors(one.held_out)}; {ks}")
    return told


def profile_yaml(document: dict[str, Any], path: Path) -> str:
    """The text of the file."""
    return _HEAD % (document["name"], path.name) + as_yaml(document)


def write_profile(document: dict[str, Any], path: Path) -> Path:
    """Write the file, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(profile_yaml(document, path), encoding="utf-8")
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return path
