"""Finds a Chromium to test with, and opens pages in it with everything that goes wrong written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
LOOPBACK = {"127.0.0.1", "localhost"}
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)
REMEDY = "run `python -m tests.ui.install_browser`, or put chromium or google-chrome on PATH"


def on_path() -> str | None:
    """Returns the first browser on PATH."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


def playwright_own(playwright: Playwright) -> str | None:
    """Returns the browser that `playwright install chromium` fetched, None where it did not."""
    path = Path(playwright.chromium.executable_path)
    return str(path) if path.is_file() else None


def launch(playwright: Playwright) -> Browser | None:
    """Starts a headless browser, None where there is none to start."""
    path = on_path() or playwright_own(playwright)
    if path is None:
        return None
    # Chromium refuses its sandbox to root; the pages are our own and the network is the loopback.
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    return playwright.chromium.launch(executable_path=path, args=[*QUIET, *sandbox])


@dataclass
class Trouble:
    """What a page complained of, and the hosts that it asked for anything."""

    messages: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Fails on any console error, page error, failed request, or request to another host."""
        assert not self.messages, "\n".join(self.messages)
        assert self.hosts <= LOOPBACK, f"asked other hosts: {sorted(self.hosts - LOOPBACK)}"


@contextmanager
def opened(browser: Browser, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """Opens a page in a context of its own; at its end, fails on whatever went wrong in it."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    trouble = watch(page)
    try:
        yield page
        trouble.check()
    finally:
        context.close()


def watch(page: Page) -> Trouble:
    """Writes down everything that goes wrong on a page from now on."""
    trouble = Trouble()
    page.on("console", lambda line: trouble.messages.append(f"console: {line.text}") if line.type == "error" else None)
    page.on("pageerror", lambda error: trouble.messages.append(f"page error: {error}"))
    page.on("requestfailed", lambda request: trouble.messages.append(f"failed: {request.url} {request.failure}"))
    page.on(
        "response",
        lambda answer: trouble.messages.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None,
    )
    page.on("request", lambda request: trouble.hosts.update(_hosts(request.url)))
    page.on("websocket", lambda socket: trouble.hosts.update(_hosts(socket.url)))
    return trouble


def settle(page: Page) -> None:
    """Waits until Bokeh has drawn every plot of the page and nothing is left to lay out."""
    page.wait_for_function(
        "() => window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every((d) => d.is_idle)"
    )


def _hosts(url: str) -> set[str]:
    parts = urlsplit(url)
    return {parts.hostname or ""} if parts.scheme in ("http", "https", "ws", "wss") else set()
