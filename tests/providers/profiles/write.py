"""Make the files of ``llmsim/providers/profiles``: ``python tests/providers/profiles/write.py [NAME …]`` (minutes)."""

from __future__ import annotations

import csv
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from providers.profiles.made import MADE
from providers.profiles.sources import (
    LEADERBOARD,
    NO_ERRORS,
    NO_LIMIT,
    NO_PREFILL,
    NO_STALL,
    NOT_ASKED,
    PRICES,
    RATES,
    THEFASTEST,
    TWENTY,
    Made,
    source,
)

from llmsim.calibrate import choose
from llmsim.calibrate.choice import Choice
from llmsim.calibrate.datasets import Measured
from llmsim.calibrate.profile_text import as_yaml, rounded
from llmsim.distributions import values_of
from llmsim.luck import Luck

OUT = Path(__file__).resolve().parents[3] / "llmsim" / "providers" / "profiles"
LUCK = Luck("profiles")
#: Whose limits, headers and errors; the others speak something like OpenAI's, which nobody has documented.
DIALECT_OF = {
    **{vendor: vendor for vendor in ("openai", "azure", "anthropic", "groq", "bedrock", "vllm")},
    "google": "gemini",
}
CLASSES = (
    *("strict_ok", "fenced_ok", "prose+fenced_ok", "fenced_bad", "prose_around_json", "missing_close"),
    *("prose+missing_close", "other_invalid", "prose_no_json", "empty"),
)


def paced(made: Made, measured: Measured) -> np.ndarray:
    """Mean gaps of the answers that did not come whole."""
    return measured.gap_s[(measured.gap_s > 0) & (made.pace_of_all | ~measured.flushed)]


@cache
def choice(name: str, what: str) -> Choice:
    """Which family for a profile's ``ttft`` or ``pace``."""
    made = MADE[name]
    measured = made.measured()
    assert measured is not None
    gaps = paced(made, measured)
    sample = measured.ttft_s if what == "ttft" else gaps / np.median(gaps)
    return choose(sample, LUCK)


def fitted(name: str, what: str, of: str, date: str, note: str) -> dict[str, Any]:
    found = choice(name, what)
    j = found.closest
    inside = "/".join(f"{share:.0%}" for share in j.inside)
    judged = f"KS, p50, p95 inside the bands of the data's own halves on {inside} of 40 held-out halves"
    if found.fitted:
        how, told = "fitted", f"{j.family} by maximum likelihood, AIC {j.aic:.1f}; {judged}"
    else:
        how, told = "empirical", f"no family passed; closest: {j.family} ({judged})"
    value = rounded(values_of(found.used.distribution), "s" if what == "ttft" else "x")
    return {"value": value, "source": source(how, of, date, found.n, f"{told}. {note}")}


def figures_of(name: str, made: Made) -> dict[str, Any]:
    """Everything measured."""
    measured = made.measured()
    if measured is None:
        return {}
    of = THEFASTEST if made.fastest else f"{LEADERBOARD}: {made.perf}.json"
    days = f"{measured.first} to {measured.last}" if measured.first != measured.last else measured.first
    note = TWENTY if made.fastest else "550 tokens in, 150 out, five at a time, from us-west-2"
    found = {"ttft": fitted(name, "ttft", of, days, note)}
    if not made.generation:
        return found
    gaps = paced(made, measured)
    n = len(measured.generation_s)
    middle = source("measured", of, days, len(gaps), "median over answers of the mean gap in an answer that was paced")
    found["inter_token"] = {"value": rounded(float(np.median(gaps)), "s"), "source": middle}
    found["pace"] = fitted(
        name, "pace", of, days, "mean gap of an answer over the median; gaps within one are not known"
    )
    if not made.pace_of_all and measured.flushed.any():
        share = source("measured", of, days, n, "share of answers that were complete within 50 ms of the first token")
        found["flush"] = {"value": f"{100 * measured.flushed.mean():.3g}%", "source": share}
    return found


def defects_of(made: Made) -> dict[str, Any]:
    """Structured output by prompt style, from the counts of the structured-rag study."""
    found = {}
    with RATES.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == made.defects]
    for style in sorted({row["prompt"] for row in rows}):
        cells = [row for row in rows if row["prompt"] == style]
        n = sum(int(row["n"]) for row in cells)
        count = {key: sum(int(row[key]) for row in cells) for key in CLASSES}
        success = sum(float(row["reported_success"]) * int(row["n"]) for row in cells)
        shares = {
            "fence": count["fenced_ok"] + count["prose+fenced_ok"] + count["fenced_bad"],
            "prose": count["prose_around_json"],
            "cut": count["missing_close"] + count["prose+missing_close"],
            "no_json": count["prose_no_json"] + count["empty"],
            "bracket": count["other_invalid"],
            "wrong_schema": max(count["strict_ok"] - success, 0.0),
        }
        note = "no JSON mode; wrong_schema: parsed, but failed the study's own validator"
        told = source(
            "measured",
            "StructuredRAG raw answers, experimental-results-9-11-24 (github.com/weaviate/structured-rag @0c5174d)",
            "2024-09-11",
            n,
            f"{note}; {made.defects_note}" if made.defects_note else note,
        )
        found[style] = {key: f"{100 * share / n:.3g}%" for key, share in shares.items() if share} | {"source": told}
    return found


def content(name: str) -> dict[str, Any]:
    """A profile as its file says it."""
    made = MADE[name]
    measured = made.measured()
    day = made.date or (measured.last if measured is not None else "")
    called = {"value": made.model, "source": source("quoted", "the provider's own name for it", day)}
    figures: dict[str, Any] = {"model": called}
    dialect = DIALECT_OF.get(name.partition("-")[0])
    if dialect is not None:
        figures["dialect"] = {"value": dialect, "source": source("quoted", "whose API it speaks", day)}
    figures |= figures_of(name, made) | made.figures
    if made.price is not None:
        value = {"model": made.price[0], "date": made.price[1]}
        figures["price"] = {"value": value, "source": source("listed", PRICES, made.price[1], note=made.price_note)}
    missing = {
        "prefill": NO_PREFILL,
        "rate_limit": "with tier: only; else none" if made.tiers else NO_LIMIT,
        "errors": NO_ERRORS,
        "stall": NO_STALL,
        "structured_output": NOT_ASKED,
    }
    have = {*figures, *(["structured_output"] if made.defects else [])}
    missing = {key: why for key, why in (missing | made.missing).items() if key not in have}
    whole = {
        "name": name,
        "date": day,
        "description": made.description,
        "figures": figures,
        "tiers": made.tiers,
        "structured_output": defects_of(made) if made.defects else {},
        "missing": missing,
    }
    return {key: value for key, value in whole.items() if value}


def main(names: list[str]) -> None:
    for name in names or MADE:
        text = "# Made by tests/providers/profiles/write.py.\n" + as_yaml(content(name))
        (OUT / f"{name}.yaml").write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
