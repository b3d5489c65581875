"""The nearest of many vectors: `VectorIndex` against numpy, faiss, hnswlib and usearch in one run.

``python tests/benchmarks/bench_lookup.py [--sizes 10000 100000] [--rounds 7] [--questions 100]``

Vectors of 384 dimensions in clusters; each question is near one of them, as a cache's hits are. A round asks all
contenders the same questions one after the other; the ratio is taken within the round (CPU time of the contender / CPU
time of one product of the matrix with the question, and argmax), and the median over rounds is shown: below 1.00 is
faster than looking at all of them. *recall* is the share of questions whose nearest vector was found, *add* the least
that an entry cost to enter. One thread each. Libraries come with the extra ``bench``;
what is absent is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from stores.clusters import clustered, unit  # noqa: E402 - the line above makes it importable

from llmsim.stores.vectors import VectorIndex  # noqa: E402

DIMENSIONS = 384
#: As the defaults of usearch have it, and hnswlib's and faiss's own measurements.
NEIGHBOURS, ADD, SEARCH = 16, 128, 64

Lookup = Callable[[np.ndarray], int]
Contender = tuple[str, Lookup, float]


def ours(vectors: np.ndarray) -> Iterator[Contender]:
    index = VectorIndex(capacity=len(vectors))
    start = time.process_time()
    for number, vector in enumerate(vectors):
        index.add((), str(number), vector)
    spent = time.process_time() - start
    name = "llmsim VectorIndex" + (" (graph)" if index.graphs() else " (matrix)")
    yield name, lambda question: int(index.nearest((), question).id), spent


def plain(vectors: np.ndarray) -> Iterator[Contender]:
    yield "numpy product, argmax", lambda question: int((vectors @ question).argmax()), 0.0


def faiss_(vectors: np.ndarray) -> Iterator[Contender]:
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIMENSIONS)
    graph = faiss.IndexHNSWFlat(DIMENSIONS, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = ADD, SEARCH
    for name, index in (("faiss FlatIP", flat), ("faiss HNSW (cannot remove)", graph)):
        start = time.process_time()
        index.add(vectors)
        spent = time.process_time() - start
        yield name, lambda question, index=index: int(index.search(question[None], 1)[1][0, 0]), spent


def hnswlib_(vectors: np.ndarray) -> Iterator[Contender]:
    import hnswlib

    index = hnswlib.Index("ip", DIMENSIONS)
    index.init_index(len(vectors), M=NEIGHBOURS, ef_construction=ADD)
    index.set_ef(SEARCH)
    index.set_num_threads(1)
    start = time.process_time()
    index.add_items(vectors, np.arange(len(vectors)))
    spent = time.process_time() - start
    yield "hnswlib", lambda question: int(index.knn_query(question, 1)[0][0, 0]), spent


def usearch_(vectors: np.ndarray) -> Iterator[Contender]:
    from usearch.index import Index

    index = Index(
        ndim=DIMENSIONS, metric="ip", dtype="f16", connectivity=NEIGHBOURS, expansion_add=ADD, expansion_search=SEARCH
    )
    start = time.process_time()
    index.add(np.arange(len(vectors)), vectors, threads=1)
    spent = time.process_time() - start
    yield "usearch, half precision", lambda question: int(index.search(question, 1, threads=1).keys[0]), spent


def contenders(vectors: np.ndarray) -> Iterator[Contender]:
    for make in (plain, ours, faiss_, hnswlib_, usearch_):
        try:
            yield from make(vectors)
        except ImportError as error:
            print(f"left out: {error.name} is not installed", file=sys.stderr)


def table(size: int, rounds: int, count: int) -> None:
    vectors, _ = clustered(size, DIMENSIONS, clusters=max(size // 20, 1), spread=0.6, seed=1)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((count, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    questions = unit(vectors[rng.integers(0, size, count)] + 0.3 * noise)
    nearest = (questions @ vectors.T).argmax(axis=1)
    found = list(contenders(vectors))
    spent: dict[str, list[float]] = {name: [] for name, _, _ in found}
    for _ in range(rounds):
        for name, lookup, _ in found:
            start = time.process_time()
            for question in questions:
                lookup(question)
            spent[name].append(time.process_time() - start)
    base = spent[found[0][0]]
    print(f"\n{size:,} entries{'':20} ratio      ms   recall   add ms")
    for name, lookup, built in found:
        ratio = statistics.median(a / b for a, b in zip(spent[name], base, strict=True))
        recall = np.mean([lookup(question) == best for question, best in zip(questions, nearest, strict=True)])
        least = min(spent[name]) / count * 1e3
        print(f"{name:32} {ratio:8.2f} {least:7.3f} {recall:8.3f} {built / size * 1e3:8.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    for size in options.sizes:
        table(size, options.rounds, options.questions)


if __name__ == "__main__":
    main()
