"""A simulated provider whose slots are a serving engine."""

import dataclasses

from providers.sim.bench import Bench, play

__all__ = ["Bench", "play_engine"]


def play_engine(spec, serving, script, faults=(), *, seed=1):
    """As `bench.play`."""
    return play(dataclasses.replace(spec, serving=serving), script, faults, seed=seed)
