"""Vectors of texts that were embedded before, on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.gateway.caching import Question
from llmsim.stores.embedders.base import TextEmbedder, Vectors

__all__ = ["DiskCache", "default_directory", "embed_texts"]

Progress = Callable[[int, int], object]

#: Texts between two files: what an interruption may lose, some 2 seconds' work of `MiniLm`; a file has 0.4 MB.
CHUNK = 256


class DiskCache(TextEmbedder):
    """Asks an embedder only for texts that it has not seen before, in this process or another.

    A folder per model holds files of up to 256 vectors, each with the SHA-256 of its model and text. A file is written
    aside and renamed: whoever is killed leaves whole files, and any number of processes may write at once. A file that
    cannot be read is as good as none. Texts themselves are not on disk.

    Parameters
    ----------
    embedder
        Makes those that are missing.
    directory
        Where they are; default: `default_directory`.

    Attributes
    ----------
    directory
        Of this model's files.

    Notes
    -----
    `embed` adds to the cache. `probe`, what a gateway asks, only looks things up: one that runs for months would fill
    the disk with what nobody asks twice.
    """

    def __init__(self, embedder: TextEmbedder, directory: str | Path | None = None) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        base = default_directory() if directory is None else Path(directory)
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)[:60].strip(".-")
        model = hashlib.sha256(f"{self.name}\0{self.dimensions}".encode()).hexdigest()
        self.directory = base / f"{readable}-{model[:12]}"
        self._embedder = embedder
        self._model = model
        self._row = np.dtype([("key", "u1", (32,)), ("vector", "<f4", (self.dimensions,))])
        self._known: dict[bytes, tuple[str, int]] = {}  #: file and row
        self._files: set[str] = set()

    def __len__(self) -> int:
        self._look()
        return len(self._known)

    async def embed(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """As the embedder has it; `progress` is called with how many of how many are there, after every file.

        Raises
        ------
        StoreError
            From the embedder; what it made until then is kept.
        OSError
            If the folder cannot be written.
        """
        self._look()
        keys = [self._key(text) for text in texts]
        wanted = Counter(keys)
        todo = [(key, text) for key, text in dict(zip(keys, texts, strict=True)).items() if key not in self._known]
        todo.sort(key=lambda pair: len(pair[1]))  # a batch takes as long as its longest makes it
        done = len(texts) - sum(wanted[key] for key, _ in todo)
        made: dict[bytes, Vectors] = {}
        report = progress or (lambda done, total: None)
        report(done, len(texts))
        for start in range(0, len(todo), CHUNK):
            chunk = todo[start : start + CHUNK]
            vectors = await self._embedder.embed([text for _, text in chunk])
            self._write([key for key, _ in chunk], vectors)
            made.update(zip((key for key, _ in chunk), vectors, strict=True))
            done += sum(wanted[key] for key, _ in chunk)
            report(done, len(texts))
        return self._gather(keys, made)

    def _gather(self, keys: list[bytes], made: dict[bytes, Vectors]) -> Vectors:
        """Their vectors in order: those just made, and the others from their files, each opened once."""
        found = np.empty((len(keys), self.dimensions), dtype=np.float32)
        elsewhere: dict[str, list[tuple[int, int]]] = {}
        for number, key in enumerate(keys):
            if key in made:
                found[number] = made[key]
            else:
                file, row = self._known[key]
                elsewhere.setdefault(file, []).append((number, row))
        for file, pairs in elsewhere.items():
            numbers, rows = zip(*pairs, strict=True)
            found[list(numbers)] = self._read(file)["vector"][list(rows)]
        return found

    async def probe(self, question: Question) -> Vectors:
        if not self._files:
            self._look()
        key = self._key(question.words)
        if key in self._known:
            try:
                vector: Vectors = self._gather([key], {})[0]
            except (OSError, ValueError):  # somebody has cleared the folder
                del self._known[key]
            else:
                return vector
        return await self._embedder.probe(question)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._model}{text}".encode(errors="surrogatepass")).digest()

    def _read(self, file: str) -> Any:
        # A map, so that only the rows that are looked at come from the disk; closed with the array.
        return np.load(self.directory / file, mmap_mode="r", allow_pickle=False)

    def _look(self) -> None:
        """Note what is in files that were not there before: others write, too."""
        if not self.directory.is_dir():
            return
        for file in sorted({path.name for path in self.directory.glob("*.npy")} - self._files):
            try:
                rows = self._read(file)
            except (OSError, ValueError, EOFError):  # cut short by a full disk, or none of ours
                continue
            if rows.dtype == self._row and rows.ndim == 1:
                self._note(file, rows)

    def _note(self, file: str, rows: Any) -> None:
        self._files.add(file)
        for number, key in enumerate(rows["key"]):
            self._known.setdefault(key.tobytes(), (file, number))

    def _write(self, keys: list[bytes], vectors: Vectors) -> None:
        rows = np.empty(len(keys), dtype=self._row)
        rows["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 32)
        rows["vector"] = vectors
        name = (
            hashlib.sha256(b"".join(keys)).hexdigest()[:32] + ".npy"
        )  # who writes the same texts writes the same file
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, rows, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).replace(self.directory / name)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        self._note(name, rows)


def default_directory() -> Path:
    """Where vectors are kept: ``$LLMSIM_CACHE``, or ``llmsim`` where this system has such things; ``vectors`` in it."""
    chosen = os.environ.get("LLMSIM_CACHE")
    if chosen:
        return Path(chosen) / "vectors"
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "llmsim" / "vectors"


def embed_texts(
    texts: Sequence[str],
    embedder: TextEmbedder | None = None,
    *,
    directory: str | Path | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """Unit vectors of texts, shape ``(len(texts), dimensions)``; from disk where they were embedded before.

    For programs that wait for it, also in a notebook, where a loop is running already.

    Parameters
    ----------
    texts
        In any order, with any repeats.
    embedder
        Default: `MiniLm`.
    directory
        Of the cache; default: `default_directory`.
    progress
        Called with how many of how many are there.
    """
    if embedder is None:
        from llmsim.stores.embedders.minilm import MiniLm

        embedder = MiniLm()
    cache = DiskCache(embedder, directory)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(cache.embed(texts, progress))
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, cache.embed(texts, progress)).result()
