"""A real Dask cluster on loopback: the same bytes as here, whoever is killed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.parallel import as_they_come
from llmsim.parallel import Cluster as On

from .dask_cluster import Cluster, cluster

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow
SCENARIO = {
    "version": 1,
    "replications": 8,
    "clock": {"duration": "30s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {"ttft": {"lognormal": {"p50": "300ms", "p99": "3s"}}, "errors": {"server_error": "10%"}}},
    "gateway": {"policies": [{"retry": {"max_attempts": 2}}]},
}


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(str(tmp_path_factory.mktemp("dask"))) as found:
        yield found


def test_a_run(dask: Cluster) -> None:
    there = ls.run(SCENARIO, backend="dask", scheduler=dask.address)
    assert there.event_hash == ls.run(SCENARIO).event_hash
    assert len(there.replications) == 8
