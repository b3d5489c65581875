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

__all__ = ["TOKEN", "Lab", "chromium", "lab", "page_of"]

TOKEN = "of-a-test"
START_S = 60

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
    """A browser page at this address, its kernel ready."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.set_default_timeout(60_000)
            page.goto(address)
            page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
            yield page
        finally:
            browser.close()
