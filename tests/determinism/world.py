"""One scenario with a bit of everything, and policies that are easy to make depend on the wrong things."""

import asyncio
import sys

import llmsim as ls

SCENARIO = {
    "version": 1,
    "name": "everything",
    "seed": 11,
    "replications": 2,
    "clock": {"warm_up": "5s", "duration": "26s", "drain": "40s"},
    "traffic": {
        "executor": "ramping-arrival-rate",
        "base_rate": "3/s",
        "stages": [{"duration": "10s", "target": "1x"}, {"duration": "5s", "target": "4x"}],
        "patience": {"lognormal": {"p50": "6s", "p99": "40s"}},
        "user_retry": {"share": "50%", "limit": 2},
        "mix": [
            {"route": "chat", "weight": "80%", "output_tokens": {"lognormal": {"p50": 60, "p99": 400}}},
            {"route": "whole", "weight": "20%", "output_tokens": 30, "stream": False},
        ],
        "topics": {"zipf": {"s": 1.0, "unique": 100}},
    },
    "providers": {
        "a": {
            "ttft": {"lognormal": {"p50": "400ms", "p99": "3s"}},
            "inter_token": {"gamma": {"mean": "15ms", "cv": 0.5}},
            "concurrency": 16,
            "queue": {"limit": 30},
            "errors": {"server_error": "5%"},
            "rate_limit": {"requests": "8/s", "window": "5s"},
            "price": {"input": "$1/Mtok", "output": "$4/Mtok"},
        },
        "b": {"ttft": {"exponential": "700ms"}, "inter_token": "10ms", "on_cancel": "continue"},
    },
    "gateway": {
        "replicas": 3,
        "policies": [
            "cache",
            {"deadline": {"timeout": "20s"}},
            {"fallback": {"order": ["a", "b"]}},
            {"retry": {"max_attempts": 3, "backoff": {"initial": "200ms"}, "budget": "30%"}},
        ],
        "upstream": [{"timeout": {"ttft": "2s", "inter_token": "1s"}}, {"circuit_breaker": {"minimum_calls": 5}}],
    },
    "faults": [
        {"name": "slow", "provider": "a", "at": "12s", "duration": "10s", "latency": {"multiplier": "3x"}},
        {
            "name": "cuts",
            "provider": "a",
            "at": "2s",
            "duration": "9s",
            "break": {"after_tokens": 9, "percentage": "20%"},
        },
        {"name": "down", "provider": "b", "at": "20s", "duration": "3s", "outage": True},
    ],
}


@ls.policy
async def draws(request, call_next):
    """Draws luck that nobody else drew, and says so."""
    run = ls.current_run()
    for number in range(3):
        run.luck("whatever", request, number)
    run.emit("drew", request, value=run.luck("more", request))
    return await call_next(request)


@ls.policy
async def hedge(request, call_next):
    """A second call after half a second; whoever is first. All it does goes through sets of tasks."""
    tasks = {asyncio.create_task(call_next(request))}
    winner = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=0.5)
        if not done:
            tasks.add(asyncio.create_task(call_next(request)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = done.pop()
        return winner.result()
    finally:
        for task in tasks - {winner}:
            if not task.cancel() and task.exception() is None:
                task.result().close()


@ls.policy
async def ties(request, call_next):
    """Many tasks that end at one instant, taken from the set that asyncio returns."""

    async def toss(number):
        await asyncio.sleep(0.25)
        return number

    done, _ = await asyncio.wait({asyncio.create_task(toss(number)) for number in range(8)})
    order = [task.result() for task in done]
    ls.current_run().emit("order", request, order=order)
    await asyncio.sleep(order[0] * 0.01)
    return await call_next(request)


def scenario(*more):
    """The scenario, with more policies outermost."""
    loaded = ls.load(SCENARIO)
    gateway = loaded.gateway
    return loaded.with_gateway(ls.Gateway(policies=(*more, *gateway.policies), upstream=gateway.upstream, replicas=3))


if __name__ == "__main__":
    print(ls.run(scenario(draws, hedge, ties)).event_hash, file=sys.stdout)
