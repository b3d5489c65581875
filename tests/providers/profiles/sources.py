"""What each shipped profile is made of: the measurements it is fitted to, and the figures quoted from elsewhere.

``write.py`` makes the files of ``llmsim/providers/profiles`` from this; ``test_refit.py`` checks that they are what the
measurements give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsim.calibrate.datasets import Measured, llmperf, thefastest

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
FASTEST = DATA / "thefastest" / "thefastest_history.csv"
LLMPERF = DATA / "llmperf-leaderboard" / "raw_data" / "individual"
RATES = DATA / "structured-rag-rates" / "rates.csv"

THEFASTEST = "thefastest.ai, website/public/data/latest.json in its history (github.com/fixie-ai/thefastest.ai)"
LEADERBOARD = "LLMPerf leaderboard, raw_data/individual (github.com/ray-project/llmperf-leaderboard @27aa9b6a)"
PRICES = "genai-prices 0.2.3"
ANALYSIS = "Artificial Analysis"


def source(how: str, of: str, date: str, n: int | None = None, note: str = "") -> dict[str, Any]:
    found = {"how": how, "of": of, "date": date, "n": n, "note": note}
    return {key: value for key, value in found.items() if value}


def quoted(value: Any, of: str, date: str, n: int | None = None, note: str = "", how: str = "quoted") -> dict[str, Any]:
    return {"value": value, "source": source(how, of, date, n, note)}


@dataclass(frozen=True)
class Made:
    """One profile.

    `fastest` and `perf` name the measurements; `pace_of_all` takes every answer for paced, since this provider is fast
    and not bundling; `price` is provider/model and date; `figures` are quoted; `defects` names a model of the
    structured-rag study.
    """

    description: str
    model: str
    date: str = ""
    fastest: tuple[str, ...] = ()
    perf: str = ""
    perf_date: str = "2023-12-19"
    pace_of_all: bool = False
    generation: bool = True
    price: tuple[str, str] | None = None
    price_note: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    tiers: dict[str, Any] = field(default_factory=dict)
    defects: str = ""
    defects_note: str = ""
    missing: dict[str, str] = field(default_factory=dict)

    def measured(self) -> Measured | None:
        if self.fastest:
            return thefastest(FASTEST, self.fastest)
        return llmperf(LLMPERF / f"{self.perf}.json", self.perf_date) if self.perf else None


NO_LIMIT = "limits go by account and tier, and none is documented for this model and date; write rate_limit:"
NO_ERRORS = "no share of failed requests is published; llmsim's default is none"
NO_PREFILL = "no slope was measured or published; llmsim's default adds nothing"
NO_STALL = "no timestamps of single tokens are public; llmsim's default is no stall"
NOT_ASKED = "not measured for this model"
TWENTY = "answers of mostly 20 tokens, three regions; each row is the best of a few tries, so tails are too light"

BURST = quoted(
    {"server_error": "1.78%"},
    "BurstGPT, file 1: 25.4k of 1,429.7k requests got no token",
    "2023",
    1_429_700,
    "all GPT models of that Azure deployment together; 7.26 % in file 3",
    how="measured",
)
AZURE_UNIT = {
    "1-unit": quoted(
        {"requests": "6/min", "tokens": "1000/min"},
        "learn.microsoft.com answers 1689036, 1336515: one unit of quota is 1000 TPM and 6 RPM",
        "2024",
        note="older chat models; requests are counted over 1 s or 10 s windows",
    )
}
OPENAI_CACHE = quoted(
    {"share": "0%", "min_tokens": 1024, "increment": 128, "ttl": "5m"},
    "developers.openai.com/api/docs/guides/prompt-caching; openai-cookbook, Prompt_Caching_201",
    "2026",
    note="kept for 5 to 10 minutes of inactivity; how much of your prompts is shared is yours to say: share:",
)


def claude_cache(least: int) -> dict[str, Any]:
    return quoted(
        {"share": "0%", "min_tokens": least, "ttl": "5m"},
        "docs.orq.ai/docs/proxy/prompt-caching, portkey.ai/docs: Anthropic's minima and lifetime",
        "2026",
        note="has to be asked for with cache_control; how much of your prompts is shared is yours to say: share:",
    )


def epoch(base: str, linear: str, square: str, late: str, extra: str, n: int, name: str) -> dict[str, Any]:
    of = f"Epoch AI, ttft-latency-scaling (github.com/epoch-research/ttft-latency-scaling @cf1e4623): {name}"
    note = "prompts of 50k to 900k tokens with a cached prefix of 2,048; below 50k it is extrapolation"
    prefill = {"per_1k": linear} | ({"per_1k_squared": square} if square else {})
    return {
        "ttft": quoted(
            {"contention": {"base": base, "probability": late, "extra": extra}},
            of,
            "2026-08",
            n,
            "constant of its curve, plus its contention fit (probability of a delay, mean delay), though part of that "
            "delay may be in the constant; " + note,
            how="derived",
        ),
        "prefill": quoted(prefill, of, "2026-08", n, note),
    }


NO_PACE = "Epoch measured no output speed; llmsim's default of 20 ms holds"
OPENAI_TAIL = "log-logistic, c = 5.11, of the ratio to the median over all OpenAI models at thefastest.ai (n = 475)"
CLAUDE_TAIL = "log-logistic, c = 5.43, of the ratio to the median over all Anthropic models at thefastest.ai (n = 475)"
