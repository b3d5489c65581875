"""What is taken off measured seconds is what the machine gave to others, and no more."""

import os
from threading import get_native_id

import pytest
import stolen
from stolen import Stolen


@pytest.fixture
def waited(tmp_path, monkeypatch):
    """Write what a thread of this process has waited for a core, in seconds."""
    monkeypatch.setattr(stolen, "PROC", tmp_path)
    monkeypatch.setattr(stolen, "_EVERY_S", 3600.0)

    def write(thread, seconds, process=None):
        folder = tmp_path / str(process or os.getpid()) / "task" / str(thread)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"5000000000 {seconds * 1e9:.0f} 7\n")
        return folder / "schedstat"

    return write


def test_what_threads_waited_since_it_began_counts_also_of_those_that_have_ended(waited):
    waited(1, 4.0)
    with Stolen() as taken:
        assert taken.s == 0.0
        waited(1, 4.25)
        brief = waited(2, 0.5)
        waited(3, 99.0, process=1)
        assert taken.s == 0.75
        brief.unlink()
        assert taken.s == 0.75
    assert taken.s == 0.75


def test_who_looks_takes_nothing_from_who_is_looked_at(waited):
    with Stolen() as taken:
        waited(taken._sampler.native_id, 99.0)
        assert taken.s == 0.0
        waited(get_native_id(), 0.25)
        assert taken.s == 0.25


def test_where_the_kernel_does_not_say_nothing_is_taken_off(waited):
    with Stolen() as taken:
        assert taken.s == 0.0
