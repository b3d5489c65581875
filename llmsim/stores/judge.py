"""The lab's verifier: it knows the truth, and errs as often as it is told to."""

from __future__ import annotations

import asyncio

from llmsim.gateway.caching import Entry
from llmsim.gateway.contract import Run
from llmsim.luck import Luck
from llmsim.stores.slow import Draws
from llmsim.stores.spec import JudgeModel
from llmsim.traffic.truth import World
from llmsim.types import Request

__all__ = ["LabJudge"]


class LabJudge:
    """Implements `Judge`.

    Whether it errs about a request and a kept answer is luck of the two: asked again, it says the same.

    Parameters
    ----------
    model
        How long it takes, and how often it errs.
    world
        What is true.
    luck
        Where its errors come from.
    run
        Of the policy that asks.
    """

    def __init__(self, model: JudgeModel, world: World, luck: Luck, run: Run) -> None:
        self._model = model
        self._world = world
        self._luck = luck
        self._run = run
        self._latency_s = Draws(luck, ("judge.latency", run.name), model.latency)

    async def __call__(self, request: Request, entry: Entry) -> bool:
        model, now_s = self._model, self._run.now()
        made_s = entry.stored_s - self._run.epoch_s
        wrong = self._world.differs(request.id, entry.request_id, made_s, now_s)
        accepts = model.accept_wrong if wrong else model.accept_right
        seconds = self._latency_s(request.id)
        if seconds > 0:
            await asyncio.sleep(seconds)
        pair = f"{request.id} {entry.request_id}"  # no request's id: a row of numbers for each pair would be kept
        return self._luck.uniform("judge", pair, self._run.name) < accepts
