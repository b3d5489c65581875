"""Which settings to try next: all of a small space, or what Optuna proposes for a large one, and what is near the best.

Optuna is asked for a batch and told a batch, so what it proposes does not depend on how many processes run it. The
study is in memory: the same answers in the same order give the same proposals, and answers are what a journal keeps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import numpy as np

from llmsim.luck import Luck
from llmsim.tuning.guessed import Guess
from llmsim.tuning.nearby import nearby
from llmsim.tuning.space import Dimension, Settings, Space, settings_key

__all__ = ["Answer", "Everything", "Proposer", "Sampled", "proposer"]

#: Optuna's samplers compare values; an infinite one would make distances between them NaN.
_WORST = 1e300
_AGAIN = 20  # proposals that were tried before, for each that is wanted, before one is drawn at random
#: Answers before half of what is proposed is near the best: two batches, of which TPE draws ten evenly.
_LEARNT = 16
_STEPS = 256  # from the best, of which one is tried
#: How far beyond a limit what should be cheapest may be, one after another: nearer to it one cannot tell, and what is a
#: little outside shows where it is. After these, one of a batch is a step that nobody chose.
_BEYOND = (0.0, 0.02, 0.05)
_BLIND = 200  # draws at random for one that was not tried before; then there is none left to speak of
#: NSGA-II needs generations; Optuna's 50 settings each would leave 200 trials with four of them.
_POPULATION = 20


class Answer(NamedTuple):
    """What was found out about a setting."""

    settings: dict[str, Any]
    costs: tuple[float, ...]
    outside: tuple[float, ...]  #: of each limit; at most 0 holds


class Proposer(Protocol):
    """Proposes settings, and learns."""

    def ask(self, count: int, best: Settings | None = None) -> list[dict[str, Any]]:
        """The next settings, none of which was there before; fewer, where there are no more.

        `best`: the best so far, with every dimension; None: not known, or of several goals.
        """

    def tell(self, answers: Sequence[Answer]) -> None:
        """What came of them, in the order they were asked in."""


def proposer(space: Space, goals: int, seed: int, trials: int) -> Proposer:
    """Everything, where that is no more than the trials; otherwise Optuna."""
    return Everything(space, seed) if space.size <= trials else Sampled(space, goals, seed)


class Everything:
    """All settings of a finite space, in an order of which no part is like the next."""

    def __init__(self, space: Space, seed: int) -> None:
        luck, each = Luck(seed), {settings_key(space.meant(one)): one for one in reversed(space.all())}
        self._left = sorted(each.values(), key=lambda one: luck.uniform("tune order", settings_key(one)))

    def ask(self, count: int, best: Settings | None = None) -> list[dict[str, Any]]:
        """The next of them."""
        found, self._left = self._left[:count], self._left[count:]
        return found

    def tell(self, answers: Sequence[Answer]) -> None:
        """Nothing to learn."""


class Sampled:
    """TPE for one goal, NSGA-II for several, with limits as Optuna's own constraints.

    Parameters
    ----------
    space
        Where settings come from.
    goals
        How many there are.
    seed
        Of the sampler.
    """

    def __init__(self, space: Space, goals: int, seed: int) -> None:
        import optuna

        self._space, self._luck = space, Luck(seed)
        self._distributions = {one.path: _distribution(one) for one in space.dimensions}
        sampler: Any = (
            optuna.samplers.TPESampler(seed=seed % 2**32)
            if goals == 1
            else optuna.samplers.NSGAIISampler(seed=seed % 2**32, population_size=_POPULATION)
        )
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.study = optuna.create_study(directions=["minimize"] * goals, sampler=sampler)
        finally:
            optuna.logging.set_verbosity(before)
        self._asked: dict[str, Any] = {}  # trials that were not told yet
        self._answers: dict[str, Answer] = {}
        self._drawn, self._stepped = 0, 0

    def ask(self, count: int, best: Settings | None = None) -> list[dict[str, Any]]:
        """The next settings: half of them near the best, once something was learnt."""
        found = self._near(best, count // 2) if best else []
        for _ in range(count * _AGAIN):
            if len(found) == count:
                return found
            trial = self.study.ask(self._distributions)
            settings = {one.path: one.value(trial.params[one.path]) for one in self._space.dimensions}
            key = self._key(settings)
            if key in self._answers:
                self._finish(trial, self._answers[key])
            elif key in self._asked:
                self.study.tell(trial, state=_failed())
            else:
                self._asked[key] = trial
                found.append(settings)
        while len(found) < count and (drawn := self._blind()) is not None:
            found.append(drawn)
        return found

    def _near(self, best: Settings, count: int) -> list[dict[str, Any]]:
        """Steps from the best: of many, those that should be cheapest within the limits, or a little beyond them."""
        answers = [one for one in self._answers.values() if math.isfinite(one.costs[0])]
        if len(answers) < _LEARNT:
            return []
        guess = Guess(self._space, best, [(one.settings, one.costs[0], one.outside) for one in answers])
        found: list[dict[str, Any]] = []
        for number in range(count):
            steps = {}
            for _ in range(_STEPS if number < len(_BEYOND) else 1):
                self._stepped += 1
                one = nearby(self._space, best, self._luck, self._stepped)
                steps[self._key(one)] = one
            new = [one for key, one in steps.items() if key not in self._answers and key not in self._asked]
            if new:
                expected = guess.of(new)
                outside = np.maximum(expected[:, 1:] - _BEYOND[number % len(_BEYOND)], 0.0).sum(axis=1)
                chosen = new[int(np.lexsort((expected[:, 0], outside))[0])]
                self._asked[self._key(chosen)] = None
                found.append(chosen)
        return found

    def _blind(self) -> dict[str, Any] | None:
        """A setting drawn evenly, that was not there before."""
        for _ in range(_BLIND):
            self._drawn += 1
            settings = {}
            for one in self._space.dimensions:
                settings[one.path] = one.value(one.at(self._luck.uniform("tune blind", "", one.path, self._drawn)))
            key = self._key(settings)
            if key not in self._answers and key not in self._asked:
                self._asked[key] = None
                return settings
        return None

    def tell(self, answers: Sequence[Answer]) -> None:
        """What came of settings, be they asked for or not."""
        for answer in answers:
            key = self._key(answer.settings)
            self._answers[key] = answer
            trial = self._asked.pop(key, None)
            if trial is not None:
                self._finish(trial, answer)
            else:
                self._add(answer)

    def _key(self, settings: Settings) -> str:
        """One for all settings that mean the same."""
        return settings_key(self._space.meant(settings))

    def _finish(self, trial: Any, answer: Answer) -> None:
        for number, outside in enumerate(answer.outside):
            trial.set_constraint(f"limit {number}", outside)
        self.study.tell(trial, [_finite(cost) for cost in answer.costs])

    def _add(self, answer: Answer) -> None:
        import optuna

        params = {}
        for one in self._space.dimensions:
            number = one.number(answer.settings[one.path])
            params[one.path] = number if one.kind == "range" and not one.whole else int(number)
        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.study.add_trial(
                optuna.trial.create_trial(
                    params=params,
                    distributions=self._distributions,
                    values=[_finite(cost) for cost in answer.costs],
                    constraints={f"limit {number}": outside for number, outside in enumerate(answer.outside)},
                )
            )


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def _finite(cost: float) -> float:
    return max(-_WORST, min(_WORST, cost)) if not math.isnan(cost) else _WORST


def _distribution(one: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.kind != "range":
        last = len(one.choices) - 1
        return IntDistribution(0, last) if one.ordered else CategoricalDistribution(list(range(last + 1)))
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)
