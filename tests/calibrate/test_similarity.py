"""Tables of similarity: what they hold, and what a check of them can and cannot find."""

import dataclasses
import json

import numpy as np
import pytest
from made_prompts import made_vectors, texts_of
from scipy.special import ndtri

from llmsim.algorithms.shelf import Shelf
from llmsim.calibrate.prompt_fit import popularity_of
from llmsim.calibrate.similarity import fit_similarity, nearest_samples, spread_of
from llmsim.calibrate.similarity_check import check_similarity, fitted_finder, popular, real_finder, replay
from llmsim.errors import LlmsimError
from llmsim.stores.nearness import Nearness
from llmsim.stores.prompts import PromptIndex, PromptVectors
from llmsim.stores.synthetic import SyntheticIndex
from llmsim.traffic.latents import Spread, lucks
from llmsim.traffic.meanings import USUAL_WORDS, Meaning
from llmsim.traffic.prompts import PromptLog
from llmsim.traffic.similarity import parse_tables


@pytest.fixture(scope="module")
def corpus():
    return made_vectors(intents=24, each=50, dimensions=24)


@pytest.fixture(scope="module")
def fitted(corpus):
    return fit_similarity(*corpus)


@pytest.mark.slow
def test_a_row_is_the_nearest_of_so_many_random_ones(corpus, fitted):
    """Against drawing them one by one, by the definition."""
    vectors, answer = corpus
    random = np.random.default_rng(9)
    for kind, n in (("same", 4), ("other", 30)):
        found = []
        for _ in range(1500):
            one = int(random.integers(len(answer)))
            alike = (answer == answer[one]) if kind == "same" else (answer != answer[one])
            others = np.setdiff1d(np.flatnonzero(alike), [one])
            found.append(float((vectors[random.choice(others, n, replace=False)] @ vectors[one]).max()))
        levels = (0.05, 0.25, 0.5, 0.75, 0.95)
        # Quantiles of 1,500 are off by .013 in probability at most (one standard error).
        reached = [float(np.mean(np.array(found) <= value)) for value in fitted.quantiles(kind, n, levels)]
        assert reached == pytest.approx(levels, abs=0.05)


@pytest.mark.slow
def test_rows_that_too_few_phrases_have_are_left_out(fitted):
    assert list(fitted.same) == [1, 2, 4, 8, 16, 32], "there are 49 others"
    assert list(fitted.other) == [1, 3, 10, 30, 100, 300, 1000]


@pytest.mark.slow
def test_the_same_seed_the_same_tables_and_another_seed_nearly(corpus, fitted):
    assert fit_similarity(*corpus).to_dict() == fitted.to_dict()
    other = fit_similarity(*corpus, seed=1)
    assert other.to_dict() != fitted.to_dict()
    assert other.same[8] == pytest.approx(fitted.same[8], abs=0.08)


@pytest.mark.slow
def test_what_phrases_of_an_intent_have_in_common_is_found_again():
    """From samples that were made with it."""
    random = np.random.default_rng(2)
    answer = np.repeat(np.arange(150), 40)
    asked = Spread(same=0.25, other=0.4, between=0.5, within=0.3)
    same, other = lucks(asked, tuple(random.random((2, 150))[:, answer]), tuple(random.random((2, len(answer)))))
    samples = nearest_samples(*made_vectors(intents=4, each=2))  # its shape; the values are put in below
    samples = dataclasses.replace(
        samples,
        asked=np.arange(len(answer)),
        same={8: ndtri(same)[:, None]},
        other={300: np.exp(ndtri(other))[:, None]},
    )
    spread, correlation = spread_of(samples, answer)
    # Standard errors with 150 intents: a tenth of a variance, .07 of their correlation.
    assert spread == pytest.approx(asked, abs=0.15)
    assert (spread.same, spread.other) == pytest.approx((0.25, 0.4), abs=0.08)
    assert correlation == pytest.approx(0.5 * np.sqrt(0.25 * 0.4) + 0.3 * np.sqrt(0.75 * 0.6), abs=0.06)


def test_too_little_to_fit_is_said():
    with pytest.raises(LlmsimError, match="tell too little"):
        fit_similarity(*made_vectors(intents=4, each=20))


def test_the_file_is_what_scenarios_read(fitted):
    data = json.loads(json.dumps(fitted.to_dict()))
    assert set(data) == {"source", "levels", "same", "other", "correlation", "intents", "sizes", "meta"}
    assert data["sizes"] == [50] * 24
    for rows in (data["same"], data["other"]):
        assert all(len(row) == len(data["levels"]) and sorted(row) == row for row in rows.values())


# -- replays ---------------------------------------------------------------------------------------------------------


def shelved(stream, answer, index, probes, threshold, capacity):
    """As the policy goes through a `LocalStore`, without waiting: an oracle of `replay`."""
    shelf, kept = Shelf(capacity), {}
    hits = exact = wrong = 0
    for number, phrase in enumerate(stream):
        entry = shelf.find(phrase, 0.0)
        if entry is None:
            found = index.nearest((), probes[phrase])
            if found is None or found.similarity < threshold:
                kept[str(number)] = phrase
                index.add((), str(number), probes[phrase])
                for gone in shelf.put(str(number), phrase, expires_s=1.0):
                    index.remove((), gone)
                    del kept[gone]
                continue
            entry = found.id
            wrong += answer[kept[entry]] != answer[phrase]
        else:
            exact += 1
        hits += 1
        shelf.touch(entry)
    return hits, exact, wrong


@pytest.mark.parametrize("threshold", [0.7, 0.85, 0.95])
def test_the_replay_is_the_policy_by_real_vectors_hit_for_hit(corpus, threshold):
    vectors, answer = corpus
    stream = popular(len(answer), 2000, 5)
    index = PromptIndex(PromptVectors(texts_of(answer), vectors))
    found = replay(stream, answer.tolist(), real_finder(vectors, 150)(), threshold, 150)
    assert found == shelved(stream, answer, index, range(len(answer)), threshold, 150)
    assert found.hits > found.exact > 0


@pytest.mark.slow
def test_the_replay_is_the_policy_by_fitted_tables(corpus, fitted):
    """They draw which entry is the nearest differently, so over some streams and not hit for hit."""
    answer = corpus[1]
    near = Nearness(parse_tables(json.loads(json.dumps(fitted.to_dict())), "fit"))
    found = []
    for seed in range(4):
        stream = popular(len(answer), 1000, seed)
        random = np.random.default_rng([seed, 2])  # as fitted_finder draws them
        common = random.random((2, 24))
        same, other = lucks(fitted.spread, tuple(common[:, answer]), tuple(random.random((3, len(answer)))[:2]))
        probes = [
            Meaning(int(name), at, at, USUAL_WORDS, float(same[at]), float(other[at]), 0.5)
            for at, name in enumerate(answer)
        ]
        oracle = shelved(stream, answer, SyntheticIndex(near), probes, 0.8, 200)
        ours = replay(stream, answer.tolist(), fitted_finder(fitted, answer, seed)(), 0.8, 200)
        found.append((np.array(ours) - np.array(oracle)) / 1000)
    assert np.abs(np.mean(found, axis=0)).max() < 0.012, found


@pytest.mark.slow
def test_a_check_finds_a_good_fit_good(corpus):
    check = check_similarity(*corpus, streams=6, requests=1500, capacity=200, thresholds=(0.75, 0.85, 0.95))
    for row in check.rows:
        gap, low, high = row.difference("hits")
        assert low <= gap <= high
        assert abs(gap) < 0.04, row
    assert max(check.ks.values()) < 0.35


def test_and_a_bad_one_bad(corpus, fitted):
    """Tables that are too near by .1 serve many more hits than the vectors do."""
    vectors, answer = corpus
    near = dataclasses.replace(fitted, same={n: np.minimum(row + 0.1, 1.0) for n, row in fitted.same.items()})
    stream = popular(len(answer), 1500, 1)
    counts = [
        replay(stream, answer.tolist(), make(), 0.85, 200).hits
        for make in (real_finder(vectors, 200), fitted_finder(fitted, answer, 1), fitted_finder(near, answer, 1))
    ]
    assert abs(counts[1] - counts[0]) < 100 < counts[2] - counts[0]


@pytest.mark.slow
def test_without_intents_there_are_hits_only(corpus):
    vectors, answer = corpus
    unknown = np.full(len(answer), -1)
    fit = fit_similarity(vectors, unknown)
    assert not fit.labelled
    check = check_similarity(vectors, unknown, streams=2, requests=800, capacity=200, thresholds=(0.8,))
    assert abs(check.rows[0].difference("hits")[0]) < 0.06


@pytest.mark.parametrize("s", [0.6, 1.1])
def test_zipfs_exponent_is_found_again(s):
    mass = np.arange(1, 301.0) ** -s
    counts = np.random.default_rng(4).multinomial(60_000, mass / mass.sum())
    log = PromptLog("", tuple(map(str, range(300))), (), np.zeros(300, int), counts, np.arange(300))
    found = popularity_of(log)
    assert found.s == pytest.approx(s, abs=0.03)
    assert found.unique_share == pytest.approx(300 / 60_000)
    assert popularity_of(dataclasses.replace(log, count=np.ones(300, int))) is None
