"""What the lab notes of a call, whoever's provider it went to."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import play

from llmsim.gateway.pipeline import Gateway
from llmsim.luck import Luck
from llmsim.scenario.runtime import LabRuntime
from llmsim.telemetry.recorder import Recorder
from llmsim.types import Response


class _MyTimings:
    """Of a client of somebody's own, with names of its own."""

    started_ms = 12


class _Mine(Toy):
    """A provider whose streams say what they like about their times."""

    def __init__(self, timings: Any) -> None:
        super().__init__(["fine"], name="mine")
        self._timings = timings

    async def send(self, request: Any) -> Response:
        response: Response = await super().send(request)
        response._stream.timings = self._timings  # type: ignore[attr-defined]
        return response


class _Says:
    def __init__(self, server_s: object) -> None:
        self.server_s = server_s


@pytest.mark.parametrize(
    ("timings", "noted"),
    [(_MyTimings(), math.nan), ({"first_ms": 80}, math.nan), (_Says(None), math.nan), (_Says(0.25), 0.25)],
)
def test_a_stream_of_ones_own_may_say_of_its_times_what_it_likes(timings: Any, noted: float) -> None:
    recorder = Recorder()

    async def script() -> str:
        runtime = LabRuntime(asyncio.get_running_loop().time, Luck(1), recorder, {})
        gateway = Gateway.of([]).start(runtime, {"mine": _Mine(timings)})
        return await (await gateway.send(ask())).read()

    assert play(script) == "fine"
    attempts = recorder.tables()["attempts"]
    assert attempts["server_s"].values.tolist() == pytest.approx([noted], nan_ok=True)
