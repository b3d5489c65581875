"""All shipped profiles."""

from __future__ import annotations

from typing import Any

from providers.profiles.sources import (
    ANALYSIS,
    AZURE_UNIT,
    BURST,
    CLAUDE_TAIL,
    NO_PACE,
    OPENAI_CACHE,
    OPENAI_TAIL,
    Made,
    claude_cache,
    epoch,
    quoted,
)


def both(name: str, *hosts: str) -> tuple[str, ...]:
    """What thefastest.ai called a model, before and after it named the host."""
    return (*[f"{host}{name}" for host in hosts], name)


OLD_CLAUDE = "genai-prices 0.2.3 lists a price for cached input, which there was from August 2024"
ONE_PRICE = "genai-prices 0.2.3 lists one price for all dates"
NOT_LISTED = "genai-prices 0.2.3 does not list this model at this provider; write price: {input: …, output: …}"
FLUSHED_ALL = (
    "57 of 57 answers of 20 tokens came within 50 ms of the first: nothing is known about the pace of longer ones"
)
LAMBDA = "github.com/LambdaLabsML/vllm-benchmark @de55d46, results/prompt_{}/{}"
BURST_NOTE = "vLLM 0.5.4, FP8, ShareGPT prompts of 4 to 399 tokens, ten at the same instant; no network"


def vllm(
    gpus: str, model: str, ttft: list[str], gap: list[str], tokens: int, slow: float, at_320: str
) -> dict[str, Any]:
    """Figures of one of Lambda's runs: ten requests at one instant, and 320."""
    ten, many = LAMBDA.format(10, f"{gpus}/{model}"), LAMBDA.format(320, f"{gpus}/{model}")
    day = "2024-08-19"
    first = {"empirical": {"values": ttft}}
    between = {"lognormal": {"p50": gap[0], "p99": gap[1]}}
    busy = {"points": [{"at": "4%"}, {"at": "100%", "inter_token": f"{slow}x"}]}
    told = "median gap with 320 requests at once against ten; TTFT is left as it is, since there it was queueing"
    return {
        "concurrency": quoted(256, "vLLM 0.5.4, default of max_num_seqs", "2024-08"),
        "ttft": quoted(first, ten, day, len(ttft), f"{BURST_NOTE}; all of them", "measured"),
        "inter_token": quoted(between, ten, day, tokens, f"{BURST_NOTE}; its median and p99, n tokens", "derived"),
        "load": quoted(busy, f"{many}; benchmark_v0.md: {at_320} at 320", day, 320, told, "derived"),
    }


def analysed(ttft: str, tail: str, shape: float, speed: float, of: str, date: str, note: str = "") -> dict[str, Any]:
    """A published median with the tail of the same provider's older models, and a published speed."""
    first = {"log_logistic": {"p50": ttft, "shape": shape}}
    return {
        "ttft": quoted(first, f"median: {of}; tail: {tail}", date, None, note, "derived"),
        "inter_token": quoted(
            f"{1000 / speed:.3g}ms", f"{of}: {speed:g} tokens/s, median", date, None, note, "derived"
        ),
    }


ARENA = f"{ANALYSIS} medians as given by induwara.lk/tools/ai-llm-speed-comparison"

MADE: dict[str, Made] = {
    # -- fitted: spring 2024 -----------------------------------------------------------------------------------
    "openai-gpt-4-turbo": Made(
        "OpenAI's large model of spring 2024.",
        "gpt-4-turbo",
        fastest=both("gpt-4-turbo", "openai/"),
        price=("openai/gpt-4-turbo", "2024-05-03"),
    ),
    "openai-gpt-3.5-turbo": Made(
        "OpenAI's fast model of spring 2024.",
        "gpt-3.5-turbo-0125",
        fastest=both("gpt-3.5-turbo-0125", "openai/"),
        price=("openai/gpt-3.5-turbo-0125", "2024-05-03"),
    ),
    "anthropic-claude-3-haiku": Made(
        "Anthropic's fast model of spring 2024.",
        "claude-3-haiku-20240307",
        fastest=both("claude-3-haiku-20240307", "anthropic/"),
        price=("anthropic/claude-3-haiku-20240307", "2024-05-03"),
        price_note=OLD_CLAUDE,
    ),
    "anthropic-claude-3-sonnet": Made(
        "Anthropic's middle model of spring 2024.",
        "claude-3-sonnet-20240229",
        fastest=both("claude-3-sonnet-20240229", "anthropic/"),
        price=("anthropic/claude-3-sonnet-20240229", "2024-05-03"),
        price_note=OLD_CLAUDE,
    ),
    "anthropic-claude-3-opus": Made(
        "Anthropic's large model of spring 2024.",
        "claude-3-opus-20240229",
        fastest=both("claude-3-opus-20240229", "anthropic/"),
        price=("anthropic/claude-3-opus-20240229", "2024-05-03"),
        price_note=OLD_CLAUDE,
    ),
    "google-gemini-1.0-pro": Made(
        "Google's model of spring 2024.",
        "gemini-pro",
        fastest=("google/gemini-pro",),
        generation=False,
        price=("google/gemini-pro", "2024-05-03"),
        price_note=ONE_PRICE,
        missing={"inter_token": FLUSHED_ALL},
    ),
    "google-gemini-1.5-pro": Made(
        "Google's large model of spring 2024 (preview).",
        "gemini-1.5-pro-preview-0409",
        fastest=("google/gemini-1.5-pro-preview-0409",),
        generation=False,
        price=("google/gemini-1.5-pro", "2024-05-03"),
        price_note=ONE_PRICE,
        defects="gemini-1.5-pro",
        missing={"inter_token": FLUSHED_ALL},
    ),
    "azure-gpt-4": Made(
        "GPT-4 Turbo (0125 preview) on Azure, South Central US, spring 2024.",
        "gpt-4-0125-preview",
        fastest=both("/gpt-4-0125-preview", "azure.scentralus", "fixie-scentralus.azure")[:2],
        price=("azure/gpt-4-turbo", "2024-05-03"),
        figures={"errors": BURST},
        tiers=AZURE_UNIT,
    ),
    "azure-gpt-3.5-turbo": Made(
        "GPT-3.5 Turbo on Azure, East US 2, spring 2024.",
        "gpt-3.5-turbo",
        fastest=("azure.eastus2/gpt-3.5-turbo", "fixie-eastus2.azure/gpt-3.5-turbo"),
        price=("azure/gpt-35-turbo", "2024-05-03"),
        figures={"errors": BURST},
        tiers=AZURE_UNIT,
    ),
    "groq-llama-3-70b": Made(
        "Llama 3 70B on Groq in its first weeks.",
        "llama3-70b-8192",
        fastest=("groq.com/llama3-70b-8192", "groq.com/llama-3-70b-chat"),
        pace_of_all=True,
        price=("groq/llama3-70b-8192", "2024-05-03"),
    ),
    "groq-llama-3-8b": Made(
        "Llama 3 8B on Groq in its first weeks.",
        "llama3-8b-8192",
        fastest=("groq.com/llama3-8b-8192", "groq.com/llama-3-8b-chat"),
        pace_of_all=True,
        price=("groq/llama3-8b-8192", "2024-05-03"),
        defects="llama3:instruct",
        defects_note="measured on another host of the same weights",
    ),
    "together-llama-3-70b": Made(
        "Llama 3 70B on Together in its first weeks.",
        "meta-llama/Llama-3-70b-chat-hf",
        fastest=("together.xyz/Llama-3-70b-chat-hf", "together.ai/llama-3-70b-chat"),
        price=("together/meta-llama/Llama-3-70b-chat-hf", "2024-05-03"),
    ),
    "together-llama-3-8b": Made(
        "Llama 3 8B on Together in its first weeks.",
        "meta-llama/Llama-3-8b-chat-hf",
        fastest=("together.xyz/Llama-3-8b-chat-hf", "together.ai/llama-3-8b-chat"),
        price=("together/meta-llama/Llama-3-8b-chat-hf", "2024-05-03"),
        defects="llama3:instruct",
        defects_note="measured on another host of the same weights",
    ),
    "fireworks-llama-3-70b": Made(
        "Llama 3 70B on Fireworks in its first weeks.",
        "llama-v3-70b-instruct",
        fastest=("fireworks.ai/llama-v3-70b-instruct", "fireworks.ai/llama-3-70b-chat"),
        missing={"price": NOT_LISTED},
    ),
    "anyscale-llama-3-70b": Made(
        "Llama 3 70B on Anyscale in its first weeks.",
        "meta-llama/Llama-3-70b-chat-hf",
        fastest=("anyscale.com/Llama-3-70b-chat-hf", "anyscale.com/llama-3-70b-chat"),
        missing={"price": NOT_LISTED},
    ),
    # -- fitted: December 2023 ---------------------------------------------------------------------------------
    "bedrock-llama-2-70b": Made(
        "Llama 2 70B on Bedrock, five requests at a time.",
        "meta.llama2-70b-chat-v1",
        perf="bedrock_70b",
        missing={"price": NOT_LISTED},
    ),
    "bedrock-llama-2-13b": Made(
        "Llama 2 13B on Bedrock, five requests at a time.",
        "meta.llama2-13b-chat-v1",
        perf="bedrock_13b",
        missing={"price": NOT_LISTED},
    ),
    # -- quoted ------------------------------------------------------------------------------------------------
    "openai-gpt-4o-mini": Made(
        "OpenAI's small model, as seen through a router in 2025 and 2026.",
        "gpt-4o-mini",
        date="2025-10",
        figures={
            "ttft": quoted(
                {"lognormal": {"p50": "716ms", "p99": "8.42s"}},
                "newmen.ai/models/openai/gpt-4o-mini: p50 716 ms, p95 4091 ms over 30 minutes through a router",
                "2026",
                note="p99 from the lognormal through both; zenmux.ai/openai/gpt-4o-mini agrees on the middle: 642 to "
                "814 ms, mean 720 (2025-10-10). The page is undated; prompts of all lengths",
                how="derived",
            ),
            "inter_token": quoted(
                "16.9ms",
                "community.openai.com/t/1307310: 59.0 tokens/s on average over answers of 500 tokens",
                "2025-07",
                how="derived",
            ),
            "pace": quoted(
                {"uniform": {"low": "0.844x", "high": "1.28x"}},
                "community.openai.com/t/1307310: 46.1 to 69.9 tokens/s around 59.0",
                "2025-07",
                note="only the ends are known",
                how="derived",
            ),
            "errors": quoted(
                {"server_error": "0.6%"},
                "newmen.ai/models/openai/gpt-4o-mini: 99.4 % success over 30 minutes",
                "2026",
                note="429s included",
            ),
            "prompt_cache": OPENAI_CACHE,
        },
        price=("openai/gpt-4o-mini", "2025-10-10"),
        missing={"rate_limit": "tiers differ by account and the sources contradict each other; write rate_limit:"},
    ),
    "openai-gpt-4o": Made(
        "OpenAI's large model of 2024, in June 2026.",
        "gpt-4o",
        date="2026-06-24",
        figures={
            **analysed("450ms", OPENAI_TAIL, 5.11, 131, ARENA, "2026-06-24"),
            "prompt_cache": OPENAI_CACHE,
        },
        tiers={
            "tier-1": quoted(
                {"requests": "500/min", "tokens": "30k/min"},
                "juejin.cn, as collected in July 2025",
                "2025-07",
                note="secondary",
            )
        },
        price=("openai/gpt-4o", "2026-06-24"),
        defects="gpt-4o",
    ),
    "openai-gpt-5.6-terra": Made(
        "OpenAI's long-context model of August 2026: time to first token by prompt length.",
        "gpt-5.6-terra",
        date="2026-08",
        figures={
            **epoch("650ms", "5.54ms", "8.03us", "15%", "1.27s", 72, "GPT-5.6 Terra"),
            "prompt_cache": OPENAI_CACHE,
        },
        price=("openai/gpt-5.6-terra", "2026-08-15"),
        missing={"inter_token": NO_PACE},
    ),
    "openai-gpt-5.6-sol": Made(
        "OpenAI's large model of August 2026: time to first token by prompt length.",
        "gpt-5.6-sol",
        date="2026-08",
        figures={
            **epoch("590ms", "11.57ms", "10.42us", "15%", "1.2s", 30, "GPT-5.6 Sol"),
            "prompt_cache": OPENAI_CACHE,
        },
        price=("openai/gpt-5.6-sol", "2026-08-15"),
        missing={"inter_token": NO_PACE},
    ),
    "anthropic-claude-sonnet-5": Made(
        "Anthropic's middle model of August 2026: time to first token by prompt length.",
        "claude-sonnet-5",
        date="2026-08",
        figures={
            **epoch("490ms", "12.94ms", "", "26%", "0.71s", 112, "Claude Sonnet 5"),
            "prompt_cache": claude_cache(1024),
        },
        price=("anthropic/claude-sonnet-5", "2026-08-15"),
        missing={"inter_token": NO_PACE},
    ),
    "anthropic-claude-opus-5": Made(
        "Anthropic's large model of August 2026: time to first token by prompt length.",
        "claude-opus-5",
        date="2026-08",
        figures={
            **epoch("1.6s", "21.79ms", "", "44%", "2.27s", 48, "Claude Opus 5"),
            "prompt_cache": claude_cache(4096),
        },
        price=("anthropic/claude-opus-5", "2026-08-15"),
        missing={"inter_token": NO_PACE},
    ),
    "anthropic-claude-haiku-4.5": Made(
        "Anthropic's fast model of autumn 2025.",
        "claude-haiku-4-5",
        date="2025-10",
        figures={
            **analysed(
                "480ms",
                CLAUDE_TAIL,
                5.43,
                53,
                f"{ANALYSIS} as given by shadabchow.com/blogs/ai-models/claude-4-5-haiku-reasoning",
                "2025-10",
                "kunalganglani.com measured 597 ms in March 2026 (200 tokens in, n = 3)",
            ),
            "prompt_cache": claude_cache(4096),
        },
        price=("anthropic/claude-haiku-4-5", "2025-11-01"),
        missing={"rate_limit": "Anthropic's tier 1 of 2025 is documented for Haiku 3.5 only; write rate_limit:"},
    ),
    "anthropic-claude-sonnet-4.6": Made(
        "Anthropic's middle model of spring 2026.",
        "claude-sonnet-4-6",
        date="2026-06-24",
        figures={
            **analysed("740ms", CLAUDE_TAIL, 5.43, 104, ARENA, "2026-06-24"),
            "prompt_cache": claude_cache(2048),
        },
        tiers={
            "tier-1": quoted(
                {"requests": "50/min", "input_tokens": "30k/min", "output_tokens": "8k/min"},
                "docs.anthropic.com, rate limits: tier 1 of Sonnet 4 and Opus 4.x",
                "2025",
                note="the tiers were renamed in 2026",
            )
        },
        price=("anthropic/claude-sonnet-4-6", "2026-06-24"),
    ),
    "google-gemini-3-flash": Made(
        "Google's fast model of 2026.",
        "gemini-3-flash-preview",
        date="2026-06-24",
        figures=analysed(
            "500ms",
            "log-logistic, c = 5.43, of Anthropic's models at thefastest.ai, as Google's 132 rows fit no family",
            5.43,
            200,
            ARENA,
            "2026-06-24",
        ),
        price=("google/gemini-3-flash-preview", "2026-06-24"),
    ),
    "vllm-llama-3.1-8b": Made(
        "Llama 3.1 8B (FP8) on one H100 of your own under vLLM 0.5.4.",
        "llama-3.1-8b",
        date="2024-08-19",
        figures=vllm(
            "1xH100-80GB-SXM",
            "Meta-Llama-3.1-8B-FP8_tp1_len8000.json",
            ["41.14ms", "41.29ms", "59.78ms", "59.92ms", "60.32ms", "60.68ms", "60.86ms"],
            ["6.02ms", "6.66ms"],
            1143,
            3.28,
            "19.75 ms",
        ),
        missing={"price": "your own hardware; write price: to charge for it"},
    ),
    "vllm-llama-3.1-70b": Made(
        "Llama 3.1 70B (FP8) on four H100s of your own under vLLM 0.5.4.",
        "llama-3.1-70b",
        date="2024-08-19",
        figures=vllm(
            "4xH100-80GB-SXM",
            "Meta-Llama-3.1-70B-Instruct-FP8_tp4_len8000.json",
            ["36.50ms", "132.58ms", "132.61ms", "132.84ms", "133.00ms", "133.07ms", "133.42ms", "133.67ms"],
            ["15.05ms", "16.42ms"],
            2601,
            2.54,
            "38.26 ms",
        ),
        missing={"price": "your own hardware; write price: to charge for it"},
    ),
}
