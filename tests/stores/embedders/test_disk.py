"""Vectors of texts that were embedded before."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from stores.toys import Angles, question

import llmsim
from llmsim.gateway.caching import StoreError
from llmsim.stores.embedders import DiskCache, embed_texts
from llmsim.stores.embedders import disk as module


def angles(first, last):
    return [str(number) for number in range(first, last)]


def embed(embedder, texts, *progress):
    return asyncio.run(embedder.embed(texts, *progress))


def test_each_text_is_embedded_once_in_any_process(tmp_path):
    inner = Angles()
    cache = DiskCache(inner, tmp_path)
    texts = ["30", "60", "30", "90"]
    first = embed(cache, texts)
    assert inner.asked == ["30", "60", "90"]
    assert np.array_equal(first[0], first[2])
    inner.asked.clear()
    again = DiskCache(inner, tmp_path)  # as another process has it
    assert np.array_equal(embed(again, [*texts, "120"]), np.vstack([first, embed(Angles(), ["120"])]))
    assert inner.asked == ["120"]
    assert len(again) == len(cache) == 4, "it sees what another has written"


def test_models_do_not_mix(tmp_path):
    embed(DiskCache(Angles(), tmp_path), ["30"])
    for name in ("angles 2", "angles-2"):  # alike as names of folders
        other = Angles()
        other.name = name
        embed(DiskCache(other, tmp_path), ["30"])
        assert other.asked == ["30"]
    assert len(list(tmp_path.iterdir())) == 3


def test_progress_and_what_an_error_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)

    class Failing(Angles):
        async def embed(self, texts):
            if "9" in texts:
                raise StoreError("no")
            return await super().embed(texts)

    seen = []
    with pytest.raises(StoreError, match="no"):
        embed(DiskCache(Failing(), tmp_path), angles(0, 10), lambda *each: seen.append(each))
    assert seen == [(0, 10), (4, 10), (8, 10)]
    inner = Angles()
    seen.clear()
    found = embed(DiskCache(inner, tmp_path), [*angles(0, 10), "9"], lambda *each: seen.append(each))
    assert inner.asked == ["8", "9"][inner.asked[0] == "9" :], "only what was missing"
    assert seen == [(8, 11), (11, 11)]
    assert np.array_equal(found[:10], embed(Angles(), angles(0, 10)))


def test_a_file_that_is_broken_is_as_good_as_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    cache = DiskCache(Angles(), tmp_path)
    whole = embed(cache, angles(0, 8))
    first, second = sorted(cache.directory.iterdir())
    first.write_bytes(first.read_bytes()[:-5])
    np.save(cache.directory / "other.npy", np.zeros(3))
    (cache.directory / "empty.npy").touch()
    # A pickle would run what it says.
    np.save(cache.directory / "pickle.npy", np.array([print], dtype=object), allow_pickle=True)
    inner = Angles()
    again = DiskCache(inner, tmp_path)
    assert np.array_equal(embed(again, angles(0, 8)), whole)
    assert len(inner.asked) == 4
    assert len(DiskCache(inner, tmp_path)) == 8, "it has been written anew"
    assert second.exists()


def test_a_question_is_looked_up_and_not_added(tmp_path):
    inner = Angles()
    cache = DiskCache(inner, tmp_path)
    assert np.array_equal(asyncio.run(cache.probe(question("30"))), embed(Angles(), ["30"])[0])
    assert len(cache) == 0
    embed(cache, ["60"])
    inner.asked.clear()
    asyncio.run(cache.probe(question("60")))
    assert inner.asked == []
    assert cache.tokens(question("60")) == 2
    vector = asyncio.run(cache.probe(question("60")))
    assert vector.shape == (2,)
    vector[0] = 0  # it is the caller's own
    assert asyncio.run(cache.probe(question("60")))[0] == pytest.approx(0.5)
    for file in cache.directory.iterdir():
        file.unlink()
    assert asyncio.run(cache.probe(question("60")))[0] == pytest.approx(0.5)
    assert inner.asked == ["60"]


def test_texts_with_nothing_or_with_half_a_character(tmp_path):
    class Lengths(Angles):
        async def embed(self, texts):
            return await super().embed([str(len(text)) for text in texts])

    cache = DiskCache(Lengths(), tmp_path)
    assert embed(cache, []).shape == (0, 2)
    assert embed(cache, ["", "\ud800", "\0"]).shape == (3, 2)
    assert len(cache) == 3


@pytest.mark.parametrize("running", [False, True])
def test_for_who_waits_in_a_script_or_in_a_notebook(tmp_path, running):
    async def cell():
        return embed_texts(["30"], Angles(), directory=tmp_path)

    found = asyncio.run(cell()) if running else embed_texts(["30"], Angles(), directory=tmp_path)
    assert np.array_equal(found, embed(Angles(), ["30"]))


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMSIM_CACHE", str(tmp_path))
    assert module.default_directory() == tmp_path / "vectors"
    assert DiskCache(Angles()).directory.parent == tmp_path / "vectors"
    monkeypatch.delenv("LLMSIM_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert module.default_directory() == tmp_path / "xdg" / "llmsim" / "vectors"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert module.default_directory() == Path.home() / ".cache" / "llmsim" / "vectors"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert module.default_directory() == Path.home() / "Library" / "Caches" / "llmsim" / "vectors"


WRITER = """
import asyncio, sys
sys.path[:0] = [{tests!r}, {root!r}]
from stores.toys import Angles
from llmsim.stores.embedders import DiskCache, disk

disk.CHUNK = 5

class Slow(Angles):
    async def embed(self, texts):
        await asyncio.sleep(0.002)
        print(texts[0], flush=True)
        return await super().embed(texts)

asyncio.run(DiskCache(Slow(), {directory!r}).embed([str(number) for number in {numbers}]))
"""


def writer(tmp_path, numbers):
    root = Path(llmsim.__file__).parents[1]
    code = WRITER.format(tests=str(root / "tests"), root=str(root), directory=str(tmp_path), numbers=numbers)
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)


@pytest.mark.slow
def test_two_writers_at_once_and_one_that_is_killed(tmp_path):
    processes = [writer(tmp_path, "range(400)"), writer(tmp_path, "range(399, -1, -1)")]
    assert [process.wait(60) for process in processes] == [0, 0]
    wanted = embed(Angles(), angles(0, 400))
    inner = Angles()
    assert np.array_equal(embed(DiskCache(inner, tmp_path), angles(0, 400)), wanted)
    assert inner.asked == []

    victim = writer(tmp_path, "range(1000, 9000)")
    for _ in range(20):
        assert victim.stdout.readline()
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(60)
    cache = DiskCache(inner, tmp_path)
    kept = len(cache) - 400
    assert 19 * 5 <= kept < 8000
    assert kept % 5 == 0, "whole files or none"
    assert np.array_equal(embed(cache, angles(0, 400)), wanted)
    assert np.array_equal(embed(cache, angles(1000, 1095)), embed(Angles(), angles(1000, 1095)))
    assert inner.asked == []
    for process in (*processes, victim):
        process.stdout.close()
