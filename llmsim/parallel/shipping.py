"""What travels to a cluster, and how it is put together there."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import io
import os
import pickle
import platform
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llmsim
from llmsim.errors import LlmsimError
from llmsim.parallel.own_code import by_value
from llmsim.scenario.spec import Scenario
from llmsim.traffic.similarity import CORPORA

__all__ = ["SHIPPED_BYTES", "Parcel", "Shipping", "Unpickler", "here", "unpacked_name", "with_files"]

#: The largest file that travels: of what passes through a scheduler, which keeps it until the work is done.
SHIPPED_BYTES = 64 * 2**20

#: Names of environment variables whose values do not travel, whoever put them into code.
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET_LENGTH = 12  # shorter ones are words that stand anywhere: "true", "1"

_PACKED = 256  # scenarios remembered, of a sweep with many; what is packed again has the same digest
_SHIPPED, _THERE = "llmsim-shipped:", "llmsim-there:"


class Parcel(NamedTuple):
    """Something pickled, and what it refers to."""

    content: bytes
    needs: tuple[str, ...]  #: digests of other contents


@cache
def here() -> dict[str, str]:
    """What has to be the same for the same bytes: versions, and the instructions that numpy uses.

    numpy's exp and log give other last bits with AVX-512 than without, and one bit is another simulation.
    """
    versions = {name: importlib.metadata.version(name) for name in ("llmsim", "numpy", "scipy", "simpy")}
    python = ".".join(platform.python_version_tuple()[:2])
    machine = {"machine": platform.machine(), "instructions": _instructions()}
    return {**versions, "python": python, "source": _source(), **machine}


def _source() -> str:
    """The code of llmsim itself: between two releases the version is the same."""
    root, digest = Path(llmsim.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _instructions() -> str:
    try:
        numpy = importlib.import_module("numpy._core._multiarray_umath")
        return ",".join(one for one in numpy.__cpu_dispatch__ if numpy.__cpu_features__.get(one))
    except (ImportError, AttributeError):  # private, but the one place where it is said
        return ""


class Shipping:
    """Packs calls and arguments. Every scenario and every file is a content of its own, packed once."""

    def __init__(self) -> None:
        self.contents: dict[str, Parcel] = {}  #: by digest
        self._scenarios: dict[int, tuple[Scenario, str]] = {}  # by identity, and kept so that it stays theirs
        self._files: dict[str, str] = {}

    def packed(self, thing: Any) -> Parcel:
        """Anything, with its scenarios apart."""
        import cloudpickle

        shipping, needs, buffer = self, [], io.BytesIO()

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            def persistent_id(self, value: Any) -> str | None:
                if not isinstance(value, Scenario):
                    return None
                digest = shipping.scenario(value)
                needs.append(digest)
                return digest

        Pickler(buffer, protocol=5).dump(thing)
        return Parcel(_harmless(buffer.getvalue(), "what is sent to the cluster"), tuple(dict.fromkeys(needs)))

    def scenario(self, scenario: Scenario) -> str:
        """Pack a scenario, its files apart; its digest."""
        import cloudpickle

        known = self._scenarios.get(id(scenario))
        if known is not None:
            return known[1]
        needs: list[str] = []

        def name(file: str) -> str:
            path = str(Path(file).absolute())
            if path not in self._files:
                self._files[path] = self._file(path)
            if self._files[path].startswith(_SHIPPED):
                needs.append(self._files[path].split(":")[1])
            return self._files[path]

        with by_value(scenario):
            content = cloudpickle.dumps(with_files(scenario, name), protocol=5)
        digest = self._kept(Parcel(_harmless(content, f"the scenario {scenario.name}"), tuple(dict.fromkeys(needs))))
        if len(self._scenarios) >= _PACKED:
            for _, one in self._scenarios.values():
                if one != digest:
                    self.contents.pop(one, None)
            self._scenarios.clear()
        self._scenarios[id(scenario)] = scenario, digest
        return digest

    def _file(self, path: str) -> str:
        """What stands for a file on the way."""
        if Path(path).stat().st_size > SHIPPED_BYTES:
            with Path(path).open("rb") as file:
                return f"{_THERE}{hashlib.file_digest(file, 'sha256').hexdigest()}:{path}"
        content = _harmless(Path(path).read_bytes(), path)
        return f"{_SHIPPED}{self._kept(Parcel(content, ()))}:{Path(path).name}"

    def _kept(self, parcel: Parcel) -> str:
        digest = hashlib.sha256(parcel.content).hexdigest()
        self.contents[digest] = parcel
        return digest


def with_files(scenario: Scenario, name: Callable[[str], str]) -> Scenario:
    """The scenario with every file that it names called otherwise."""
    traffic, topics = scenario.traffic, scenario.traffic.topics
    if traffic.trace is not None:
        parts = tuple(dataclasses.replace(part, file=name(part.file)) for part in traffic.trace.then)
        trace = dataclasses.replace(traffic.trace, file=name(traffic.trace.file), then=parts)
        traffic = dataclasses.replace(traffic, trace=trace)
    if topics is not None and topics.prompts is not None:
        topics = dataclasses.replace(topics, prompts=name(topics.prompts))
    if topics is not None and topics.similarity not in CORPORA:
        topics = dataclasses.replace(topics, similarity=name(topics.similarity))
    if traffic is scenario.traffic and topics is traffic.topics:
        return scenario
    return dataclasses.replace(scenario, traffic=dataclasses.replace(traffic, topics=topics))


def unpacked_name(name: str, place: Callable[[str, str], Path]) -> str:
    """Where the file is here that was called so on the way.

    Parameters
    ----------
    name
        Of `Shipping`.
    place
        Gives the path of the content with a digest, under the name of a file.

    Raises
    ------
    LlmsimError
        The file had to be here, and is not.
    """
    if name.startswith(_SHIPPED):
        digest, file = name.removeprefix(_SHIPPED).split(":", 1)
        return str(place(digest, file))
    digest, path = name.removeprefix(_THERE).split(":", 1)
    limit = f"{SHIPPED_BYTES // 2**20} MiB"
    try:
        found = _digest_of(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise LlmsimError(
            f"a worker cannot read {path} ({error.strerror}); files over {limit} have to be on every worker, same path"
        ) from None
    if found != digest:
        raise LlmsimError(f"{path} has another content on a worker than here; files over {limit} are not sent")
    return path


@cache
def _digest_of(path: str, modified_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Unpickler(pickle.Unpickler):
    """With scenarios from elsewhere."""

    def __init__(self, content: bytes, scenarios: Callable[[str], Scenario]) -> None:
        super().__init__(io.BytesIO(content))
        self._scenarios = scenarios

    def persistent_load(self, pid: str) -> Scenario:
        """The scenario of a digest."""
        return self._scenarios(pid)


def _harmless(content: bytes, what: str) -> bytes:
    """The content, if no secret of this process is in it."""
    for name, value in os.environ.items():
        if not _SECRET.search(name) or len(value) < _SECRET_LENGTH or Path(value).exists():
            continue
        if value.encode(errors="surrogateescape") in content:
            raise LlmsimError(
                f"{what} contains the value of the environment variable {name}, which is not sent; let the code read "
                "it when it is called, and not keep it"
            )
    return content
