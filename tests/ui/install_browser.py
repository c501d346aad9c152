"""Gets a Chromium for the ui tests, by whichever way works, and says in one line what it did.

In order: a browser on PATH, the one that Playwright has or can fetch, the distribution's package when root. Without any the
ui tests are skipped; only with CI=true is that an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

from playwright.sync_api import sync_playwright

from tests.ui.browser import on_path, playwright_own

PATIENCE_S = 300


def main() -> int:
    """Returns 0, or 1 where CI=true and no browser could be had."""
    ways: tuple[Callable[[], str | None], ...] = (_found_on_path, _fetched_before, _fetch, _install_package)
    for way in ways:
        done = way()
        if done:
            print(f"browser: {done}")
            return 0
    print(
        "browser: none on PATH, Playwright could not fetch one, no package manager to ask; the ui tests will be skipped"
    )
    return 1 if os.environ.get("CI") == "true" else 0


def _found_on_path() -> str | None:
    path = on_path()
    return f"using {path}" if path else None


def _fetched_before() -> str | None:
    with sync_playwright() as playwright:
        path = playwright_own(playwright)
    return "using Playwright's own Chromium" if path else None


def _fetch() -> str | None:
    if not _run([sys.executable, "-m", "playwright", "install", "chromium"]):
        return None
    # Fetched is not yet runnable: a bare system lacks libraries that Chromium links to.
    with sync_playwright() as playwright:
        path = playwright_own(playwright)
    runs = path is not None and _run([path, "--headless", "--no-sandbox", "--disable-gpu", "--version"])
    return "fetched Playwright's own Chromium" if runs else None


def _install_package() -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    _run(["apt-get", "update", "-qq"])
    if not _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        return None
    path = on_path()
    return f"installed the distribution's package, using {path}" if path else None


def _run(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
