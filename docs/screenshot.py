"""Takes the pictures of the README: `python docs/screenshot.py runs/ docs/img` writes dashboard-{trust,compare}.png there."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.ui.browser import REMEDY, launch, opened, settle  # noqa: E402
from tests.ui.serving import start_dashboard  # noqa: E402

WIDTH = 1280
MAX_BYTES = 300_000
PAGES = ("trust", "compare")


def main(runs: Path, images: Path) -> int:
    """Serves the folder `runs`, photographs every page, and returns 0, or 1 without a browser."""
    images.mkdir(parents=True, exist_ok=True)
    process, address = start_dashboard(runs)
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            if browser is None:
                print(f"no browser to take pictures with; {REMEDY}", file=sys.stderr)
                return 1
            for name in PAGES:
                file = images / f"dashboard-{name}.png"
                with opened(browser, width=WIDTH) as page:
                    page.goto(address + name)
                    photograph(page, file)
                print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
                if file.stat().st_size > MAX_BYTES:
                    print(
                        f"{file}: must be at most {MAX_BYTES // 1000} kB to be kept in the repository", file=sys.stderr
                    )
                    return 1
    finally:
        process.terminate()
        process.communicate(timeout=20)
    return 0


def photograph(page: Page, file: Path) -> None:
    """Takes the whole page, in a window as high as the page: a window resized for the picture would redraw while it is taken."""
    settle(page)
    page.set_viewport_size({"width": WIDTH, "height": page.evaluate("document.documentElement.scrollHeight")})
    settle(page)
    page.wait_for_function(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    )
    page.screenshot(path=file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/screenshot.py RUNS_FOLDER IMAGE_FOLDER")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
