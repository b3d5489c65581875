"""Decorators of other libraries as policies: fresh for every run, and their errors are those of the gateway."""

import pytest
import stamina
import tenacity
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play
from test_bad_policies import run

import llmsim as ls
from llmsim.errors import CircuitOpen, Overloaded, PolicyError, ServerError, StreamBroken

three_times = tenacity.retry(
    stop=tenacity.stop_after_attempt(3),
    wait=tenacity.wait_exponential(multiplier=1, max=10),
    retry=tenacity.retry_if_exception_type(ServerError),
)


def _tenacity():
    return ls.policies.Around(make=lambda: three_times, name="tenacity")


def _stamina():
    return ls.policies.Around(
        make=lambda: stamina.retry(on=ServerError, attempts=3, wait_initial=1.0, wait_jitter=0.0), name="stamina"
    )


@ls.policy
@three_times
async def decorated(request, call_next):
    return await call_next(request)


@pytest.mark.parametrize(("spec", "waits"), [(_tenacity(), 1 + 2), (decorated, 1 + 2), (_stamina(), 1 + 2)])
def test_a_retry_library_retries_in_virtual_time_and_what_it_gave_up_on_is_the_last_error(spec, waits):
    async def script():
        site = Site([spec], Toy(Overloaded(), Overloaded(), ServerError(status=500)))
        with pytest.raises(ServerError) as caught:
            await site.send()
        return site, caught.value, site.running._runtime.now()

    site, error, now = play(script)
    assert [cause for _, cause, _, _ in site.causes()] == ["first", "retry", "retry"]
    assert (type(error), error.status) == (ServerError, 500)
    assert now == pytest.approx(waits, abs=0.1)


def test_an_answer_at_the_second_try_is_the_answer():
    async def script():
        site = Site([_tenacity()], Toy(Overloaded(), ["fine"]))
        return (await site.send()).outcome.kind

    assert play(script) == "ok"


def test_an_open_breaker_is_circuit_open_and_the_next_run_begins_closed():
    import purgatory  # with its store for Redis, that takes a quarter of a second

    spec = ls.policies.Around(
        make=lambda: purgatory.AsyncCircuitBreakerFactory(default_threshold=2, default_ttl=30)("up"), name="purgatory"
    )

    async def script():
        site = Site([spec], Toy(ServerError(status=500)))
        words = []
        for n in range(3):
            try:
                await site.send(ask(n))
                words.append("ok")
            except (ServerError, CircuitOpen) as error:
                words.append(error.word)
        return words, len(site.attempts)

    assert play(script) == (["server_error", "server_error", "circuit_open"], 2)
    assert play(script) == (["server_error", "server_error", "circuit_open"], 2)


@pytest.mark.parametrize(("whole", "causes"), [(False, ["first"]), (True, ["first", "retry"])])
def test_only_a_decorator_that_sees_the_whole_call_retries_a_broken_stream(whole, causes):
    broken = tenacity.retry_if_exception_type(StreamBroken)
    spec = ls.policies.Around(
        make=lambda: tenacity.retry(stop=tenacity.stop_after_attempt(2), retry=broken), whole=whole, name="tenacity"
    )

    async def script():
        site = Site([spec], Toy(["some", StreamBroken(tokens_delivered=1)]))
        try:
            await site.send()
        except StreamBroken:
            pass
        return [cause for _, cause, _, _ in site.causes()]

    assert play(script) == causes


def test_its_own_mistakes_are_named_with_their_line():
    with pytest.raises(PolicyError, match=r"policy .odd. .*raised ZeroDivisionError"):
        run(ls.policies.Around(make=lambda: lambda call: _divides, name="odd"))


async def _divides(request, call_next):
    return 1 / 0
