"""A simulated store to play with, in virtual time."""

from types import SimpleNamespace

from gateway.policies.toys import ask

from llmsim.engine.driver import simulate
from llmsim.gateway.caching import CacheUse, Entry, Question, StoreSpec
from llmsim.luck import Luck
from llmsim.scenario.load import load_scenario
from llmsim.stores.simulated import SimulatedStores
from llmsim.stores.spec import StoreModel
from llmsim.traffic.workload import Workload, World
from llmsim.types import Chunk, Usage

RUN = SimpleNamespace(name="semantic_cache", epoch_s=0.0)


def model(**words):
    """A `StoreModel` from the words of a scenario's section."""
    if not words:
        return StoreModel()
    return load_scenario({
        "version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"openai": {}}, "store": words,
        "gateway": {"policies": [{"semantic_cache": {"threshold": 0.9}}]}, "faults": [
            {"name": "any", "store": "semantic_cache", "outage": True},
        ],
    }).store  # fmt: skip


def world(**topics):
    traffic = load_scenario({
        "version": 1, "traffic": {"base_rate": "4/s", "topics": topics}, "providers": {"openai": {}},
    }).traffic  # fmt: skip
    made = World()
    made.meanings = Workload(traffic, Luck(7)).meanings
    return made


def question(number, words=None, partition=("a",)):
    words = f"question {number}" if words is None else words
    return Question(ask(number, input_tokens=100), partition, words, words)


def entry(asked, *, expires_s=float("inf"), stored_s=0.0, tokens=50):
    request = asked.request
    return Entry(
        request.id, asked.partition, asked.key, asked.words, (Chunk("answer", tokens),), Usage(100, tokens), "m", "a",
        request.id, stored_s, expires_s,
    )  # fmt: skip


class Lab:
    """One replication's stores, and how long things take."""

    def __init__(self, loop, stores):
        self.loop = loop
        self.stores = stores

    def open(self, backend="memory", capacity=100, name="semantic_cache"):
        return self.stores.open(StoreSpec(backend, capacity, name=name), RUN)

    async def timed(self, call):
        """What came of it (the error, if one did), and after how long."""
        began = self.loop.time()
        try:
            found = await call
        except Exception as error:
            found = error
        return found, round(self.loop.time() - began, 9)

    async def keep(self, store, number, **fields):
        asked = question(number)
        await store.put(asked, entry(asked, **fields), CacheUse())
        return asked


def play(script, store=None, faults=(), seed=7, meanings=None):
    """Run ``await script(lab)``."""

    async def main(loop):
        found = SimulatedStores(
            world() if meanings is None else meanings,
            store,
            luck=Luck(seed),
            now=loop.time,
            faults={"semantic_cache": faults},
        )
        return await script(Lab(loop, found))

    return simulate(main)
