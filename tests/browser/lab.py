"""JupyterLab on loopback with settings of its own, and Chromium to drive it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FLAGS", "Lab", "chromium", "lab", "page_of"]

TOKEN = "of-a-test"
START_S = 60
_DIALOG = ".jp-Dialog"

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are in the page at once, also those far below.
    "notebook-extension/tracker": {"windowingMode": "none"},
}

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Lab(NamedTuple):
    """A running server."""

    port: int
    log: Path

    def url(self, notebook: str) -> str:
        """Where a notebook opens."""
        return f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?token={TOKEN}&reset"


def chromium() -> str | None:
    """The browser, if there is one."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@contextmanager
def lab(root: Path, scratch: Path, theme: str = "Light") -> Iterator[Lab]:
    """Serve `root`; everything that Jupyter keeps goes into `scratch`."""
    settings = {**SETTINGS, "apputils-extension/themes": {"theme": f"JupyterLab {theme}"}}
    for name, values in settings.items():
        path = scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={scratch / 'settings'}",
        f"--LabApp.workspaces_dir={scratch / 'workspaces'}",
    ]
    homes = {name: str(scratch / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    environment = {**os.environ, **homes, "IPYTHONDIR": str(scratch / "ipython")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    log = scratch / "server.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment) as server,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server, log)
            yield Lab(port, log)
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    # Not through a proxy that the environment may name.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with direct.open(url, timeout=2):
                return
        except OSError:
            gone = server.poll() is not None
            if gone or time.monotonic() > until:
                raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')[-3000:]}") from None
            time.sleep(0.2)


@contextmanager
def page_of(address: str) -> Iterator[Any]:
    """A browser page at this address, its kernel ready; what fails there says which dialog stood in front."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.set_default_timeout(60_000)
            page.goto(address)
            try:
                _until_connected(page)
                # A page that loses its kernel asks for one, too, in front of all the rest.
                page.add_locator_handler(_asking(page), _choose)
                yield page
            except Exception as error:
                for text in page.locator(_DIALOG).all_inner_texts():
                    error.add_note(f"a dialog stands in front: {text!r}")
                for text in page.locator(".jp-Cell").all_inner_texts():
                    error.add_note(f"a cell: {text[-1000:]!r}")
                raise
        finally:
            browser.close()


def _asking(page: Any) -> Any:
    """The dialog that asks for a kernel, whether it is there or not."""
    return page.locator(_DIALOG).filter(has=page.locator(f"{_DIALOG}-header", has_text="Select Kernel"))


def _choose(dialog: Any) -> None:
    """Take the kernel of Python, as a person would, whatever is offered first."""
    offered = dialog.locator("select option").all_text_contents()
    python = next((name for name in offered if name.startswith("Python 3")), None)
    assert python is not None, f"no Python among the kernels that are offered: {offered}"
    dialog.locator("select").select_option(label=python)
    dialog.get_by_role("button", name="Select Kernel").click()


def _until_connected(page: Any) -> None:
    """Until the page talks to a kernel: to run sooner asks for one, and each answer to that starts another."""
    sessions = f"{page.url.partition('/lab')[0]}/api/sessions?token={TOKEN}"
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        dialog = _asking(page)
        if dialog.is_visible():
            _choose(dialog)
        kernels = [one["kernel"] for one in page.request.get(sessions).json()]
        if kernels and kernels[0]["connections"] and kernels[0]["execution_state"] == "idle":
            break
        time.sleep(0.2)
    else:
        raise AssertionError("there is no kernel")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
