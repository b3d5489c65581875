"""Is there a notebook, and does somebody look at it."""

from __future__ import annotations

from typing import Any

import pytest

from llmsim.report.notebook import attended, in_notebook

ASK = "from llmsim.report.notebook import attended, in_notebook\nprint(in_notebook(), attended())"


def test_a_script_is_no_notebook() -> None:
    assert (in_notebook(), attended()) == (False, False)


@pytest.mark.slow
def test_who_answers_questions_looks_on() -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        said.append(message["content"].get("text", ""))

    try:
        for answers in (True, False):  # a person in JupyterLab; nbclient, under papermill and nbconvert
            client.execute_interactive(ASK, allow_stdin=answers, output_hook=hear, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(said).split("\n")[:2] == ["True True", "True False"]
