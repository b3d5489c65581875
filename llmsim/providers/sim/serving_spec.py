"""What a scenario says about a self-hosted serving engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.units import Duration, PositiveCount, PositiveDuration

__all__ = ["Serving"]

FORBID: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What the steps of a self-hosted engine (vLLM, llama.cpp, TGI) cost.

    A step takes ``prefill_step`` if there is a prompt in it, ``decode_step`` if there is a decoding sequence in it,
    ``prefill_token`` for each prompt token, ``decode_sequence`` for each decoding sequence and ``decode_context`` for
    each token that such a sequence has behind it.
    `llmsim.calibrate.serving.fit_serving` finds these from requests sent one after the other.

    For a 135M model on two CPU cores it is ``{slots: 4, prefill_step: 30ms, prefill_token: 7.6ms, decode_sequence:
    16.8ms}``: Theil-Sen over 15 sequential requests to a llama.cpp server (own measurement of 2026-11-23). There a
    decoding sequence costs the same whatever its company; on a GPU most of a decode step is reading the weights, once
    for all sequences, which is what `decode_step` is for.

    Parameters
    ----------
    slots
        Calls served at once (vLLM ``--max-num-seqs``, llama.cpp ``--parallel``); others wait, first come first served.
    prefill_step
        Of a step in which there is some prompt, whatever its length.
    prefill_token
        For each prompt token that is not cached.
    decode_step
        Of a step in which something is decoded, however many sequences.
    decode_sequence
        For each decoding sequence.
    decode_context
        For each token of a decoding sequence's context, whose keys and values every step reads again: its prompt,
        cached or not, and half of its answer, which is what it has behind it on average. llama.cpp with a 135M model
        on one CPU core: 13.3 ms a step and 8.5 to 9.9 us for each token of context (own measurement of 2026-11-26, four
        times 72 calls).
    batch_tokens
        Most tokens in a step: those of decoding sequences come first, prompts get what is left, in chunks (vLLM
        ``--max-num-batched-tokens``, shared by both kinds with chunked prefill; llama.cpp ``--batch-size``, 2048).
    """

    __pydantic_config__: ClassVar = FORBID

    slots: PositiveCount
    prefill_step: Duration = 0.0
    prefill_token: PositiveDuration
    decode_step: Duration = 0.0
    decode_sequence: PositiveDuration
    decode_context: Duration = 0.0
    batch_tokens: PositiveCount = 2048

    def __post_init__(self) -> None:
        if self.batch_tokens <= self.slots:  # vLLM refuses this too: prompts might never get a turn
            raise ValueError(
                f"batch_tokens {self.batch_tokens} leaves no room for prompts beside {self.slots} decoding slots; "
                "make it larger than slots, like 2048"
            )
