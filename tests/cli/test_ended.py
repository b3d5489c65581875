"""Being told to end: a runner, ``timeout`` and a closed terminal send no Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

import llmsim.cli
from llmsim.cli.ended import hear_the_end

_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _ALL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_is_heard_as_an_interrupt_even_where_ctrl_c_is_ignored(sent: signal.Signals, ctrl_c: object) -> None:
    signal.signal(signal.SIGINT, ctrl_c)  # type: ignore[arg-type]
    hear_the_end()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)


def test_whoever_takes_ctrl_c_takes_the_end_too() -> None:
    taken: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: taken.append(number))
    hear_the_end()
    signal.raise_signal(signal.SIGTERM)
    assert taken == [signal.SIGINT]


def test_nohup_stays_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hear_the_end()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_just_ends() -> None:
    hear_the_end()
    child = os.fork()
    if not child:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_ctrl_c_while_modules_are_still_read_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow:  # stands where the commands would be imported from
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "llmsim.cli.app", Slow())
    with pytest.raises(SystemExit) as ended:
        llmsim.cli.main(["run"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
