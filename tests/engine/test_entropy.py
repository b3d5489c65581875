"""Randomness that code asks the system for: a simulation's own, seeded, and nobody else's."""

import os
import random
import secrets
import uuid

import numpy as np
import pytest

from llmsim import luck as luck_module
from llmsim.engine import simulate

urandom, hexadecimal, real_seed = os.urandom, secrets.token_hex, random.Random.seed  # bound long before a run


def reseeded(generator):
    generator.seed()
    return generator.random()


def test_seeding_without_a_seed_asks_nobody_outside():
    async def main(loop):
        before = random.random()
        random.seed()
        return before, random.random()

    first = simulate(main, seed=7)
    assert first == simulate(main, seed=7)
    assert first != simulate(main, seed=8)
    assert vars(random.Random)["seed"] is real_seed
    assert reseeded(random.Random(3)) != reseeded(random.Random(3))


def test_what_the_system_has_of_randomness_is_seeded_too():
    async def main(loop):
        drawn = [
            urandom(4),
            hexadecimal(8),
            uuid.uuid4(),
            random.SystemRandom().random(),
            np.random.default_rng().random(),
            random.Random().random(),
            reseeded(random.Random(3)),
            *([os.getrandom(8)] if hasattr(os, "getrandom") else []),
        ]
        return drawn, len(urandom(0)), [random.random(), random.gauss(), random.randint(0, 10**9)]

    async def draws_nothing_of_it(loop):
        return [random.random(), random.gauss(), random.randint(0, 10**9)]

    first, again, other = simulate(main, seed=7), simulate(main, seed=7), simulate(main, seed=8)
    assert first == again
    assert all(one != another for one, another in zip(first[0], other[0], strict=True))
    assert first[1] == 0
    assert first[2] == simulate(draws_nothing_of_it, seed=7), "it shifts nothing for `random`"
    assert len({urandom(8) for _ in range(3)}) == 3
    with pytest.raises(ValueError, match="negative"):
        urandom(-1)


def test_our_own_luck_asks_for_none():
    async def main(loop):
        return urandom(8)

    async def draws_luck(loop):
        luck_module._Generator()  # as the first draw in a thread does
        return urandom(8)

    assert simulate(main, seed=7) == simulate(draws_luck, seed=7)
