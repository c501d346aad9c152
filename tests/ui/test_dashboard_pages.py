"""The dashboard in a real browser. Every page opened here fails on a console error, a failed request or another host."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from sentra_sim.kpi import kpis
from sentra_sim.records import read_run
from tests.ui.browser import Trouble, opened, settle
from tests.ui.conftest import Serve
from tests.ui.serving import spawn, start_dashboard

pytestmark = pytest.mark.ui

DRAWN = """() => {
  const found = {}
  for (const doc of Bokeh.documents) for (const root of doc.roots()) root.references().forEach((model) => {
    if (model.type !== "GlyphRenderer" || model.glyph.type !== "Line") return
    const data = model.data_source.data
    for (const column of Object.keys(data)) found[column] = (found[column] || 0) + Array.from(data[column]).reduce((a, b) => a + b, 0)
  })
  return found
}"""


def asked(page: Page) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


def p95_words(run: Path) -> str:
    value = next(kpi.value for kpi in kpis(read_run(run)) if kpi.name == "e2e_p95_s")
    assert value is not None
    return f"{value * 1e3:.1f} ms"


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label).select_option(option)


def test_trust_says_whether_why_and_on_what_ground(browser: Browser, address: str, workspace: Path) -> None:
    with opened(browser) as page:
        page.goto(address)
        settle(page)
        verdict = page.get_by_label("verdict")
        expect(verdict).to_contain_text("Yes")
        expect(verdict).to_contain_text("end to end P95 at 4000 events/s is off by +4.0%")
        row = page.get_by_role("row").filter(has_text="end to end P95")
        expect(row).to_contain_text(p95_words(workspace / "measured-4000-1"))
        expect(row).to_contain_text("+4.0 %")
        expect(row).to_contain_text("good")
        ground = page.locator(".ground")
        for text in ("measured-2000-1", "measured-6000-1", "measured-4000-2", "Builder 9000", "2026-03-01 10:00 UTC"):
            expect(ground).to_contain_text(text)
        expect(page.locator(".errors canvas").first).to_be_visible()


def test_compare_opens_on_the_held_out_run_and_its_simulation(browser: Browser, address: str, workspace: Path) -> None:
    with opened(browser) as page:
        page.goto(address + "compare")
        settle(page)
        expect(page.get_by_label("Reference")).to_have_value(re.compile(r"^measured-4000-1 "))
        expect(page.get_by_label("Compared with")).to_have_value(re.compile(r"^simulated-4000 "))
        row = page.get_by_role("row").filter(has_text="end to end P95")
        expect(row).to_contain_text(p95_words(workspace / "measured-4000-1"))
        expect(row).to_contain_text(p95_words(workspace / "simulated-4000"))
        for panel in ("tail", "series", "hops"):
            expect(page.locator(f".{panel} canvas").first).to_be_visible()


def test_another_run_changes_url_plot_and_numbers_and_a_reload_restores_them(
    browser: Browser, address: str, workspace: Path
) -> None:
    with opened(browser) as page:
        page.goto(address + "compare")
        settle(page)
        before = page.evaluate(DRAWN)
        choose(page, "Compared with", "simulated-6000 · 6,000 events/s")
        row = page.get_by_role("row").filter(has_text="end to end P95")
        expect(row).to_contain_text(p95_words(workspace / "simulated-6000"))
        settle(page)
        changed = page.evaluate(DRAWN)
        assert changed["latency"] != before["latency"]
        assert asked(page) == {"reference": "measured-4000-1", "compared": "simulated-6000"}
        page.reload()
        settle(page)
        expect(page.get_by_label("Compared with")).to_have_value(re.compile(r"^simulated-6000 "))
        assert page.evaluate(DRAWN) == changed
        link = page.url
    with opened(browser) as other:
        other.goto(link)
        settle(other)
        assert other.evaluate(DRAWN) == changed


def test_a_damaged_run_is_named_with_its_reason_and_breaks_nothing(browser: Browser, address: str) -> None:
    with opened(browser) as page:
        page.goto(address + "compare?reference=torn")
        settle(page)
        expect(page.locator(".damaged")).to_contain_text(
            "torn – frames.parquet: must be a whole Parquet file, got 900 damaged bytes"
        )
        expect(page.get_by_role("status")).to_contain_text("The link asks for the run 'torn'")
        expect(page.get_by_label("Reference")).to_have_value(re.compile(r"^measured-4000-1 "))
        assert "torn" not in page.get_by_label("Reference").inner_text()


def test_a_run_that_turns_out_damaged_when_read_says_so_and_another_choice_mends_the_page(
    browser: Browser, address: str
) -> None:
    with opened(browser) as page:
        page.goto(address + "compare?reference=mixed")
        settle(page)
        expect(page.get_by_role("status")).to_contain_text("events.parquet must hold 43000 events, got 129000")
        expect(page.locator(".tail canvas")).to_have_count(0)
        choose(page, "Reference", "measured-2000-1 · 2,000 events/s")
        expect(page.locator(".tail canvas").first).to_be_visible()
        expect(page.get_by_role("status")).to_have_count(0)


def test_an_empty_folder_says_what_is_missing_and_which_command_makes_it(
    browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    address = serve(tmp_path / "runs")
    with opened(browser) as page:
        page.goto(address)
        settle(page)
        expect(page.get_by_label("verdict")).to_contain_text("Not known")
        for command in ("make demo", "sentra measure", "sentra calibrate", "sentra validate"):
            expect(page.locator("section.steps")).to_contain_text(command)
        page.get_by_role("link", name="Compare").click()
        settle(page)
        expect(page.locator(".empty")).to_contain_text("holds no readable run")
        expect(page.locator(".empty")).to_contain_text("sentra simulate")


@pytest.mark.parametrize("name", ["trust", "compare"])
@pytest.mark.parametrize("width", [1280, 700])
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, name: str, width: int) -> None:
    with opened(browser, width=width) as page:
        page.goto(address + name)
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for table in page.locator(".scroll").all():
            assert table.evaluate("(it) => it.scrollWidth - it.clientWidth") <= 0, table.inner_text()


def test_dark_is_kept_in_the_url_and_across_pages(browser: Browser, address: str) -> None:
    with opened(browser) as page:
        page.goto(address + "trust")
        settle(page)
        page.get_by_role("button", name="Dark").click()
        page.wait_for_url("**/trust?theme=dark")
        settle(page)
        page.get_by_role("link", name="Compare").click()
        page.wait_for_url("**/compare?theme=dark**")
        settle(page)
        grounds = page.evaluate(
            "() => Bokeh.documents.flatMap((d) => d.roots()).flatMap((r) => [...r.references()])"
            ".filter((m) => m.type === 'Figure').map((m) => m.background_fill_color)"
        )
        assert set(grounds) == {"#171c21"}


def test_a_busy_port_is_one_line(serve: Serve, tmp_path: Path) -> None:
    taken = int(serve(tmp_path).rstrip("/").rsplit(":", 1)[1])
    process = spawn(tmp_path, taken)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert (
        said.strip()
        .splitlines()[-1]
        .endswith(
            f"InputError: --port {taken}: must be a free port, got one in use; choose another, or 0 for any free one"
        )
    )


def test_ctrl_c_ends_the_server_quietly(tmp_path: Path) -> None:
    process, _ = start_dashboard(tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""


def complain(browser: Browser, address: str, script: str) -> None:
    with opened(browser) as page:
        page.goto(address)
        settle(page)
        page.evaluate(script)


def test_the_watch_itself_sees_errors_failures_and_other_hosts(browser: Browser, address: str) -> None:
    with pytest.raises(AssertionError, match="console: broken"):
        complain(browser, address, "console.error('broken')")
    with pytest.raises(AssertionError, match="404"):
        complain(browser, address, "fetch('./nowhere').then((answer) => answer.status)")
    with pytest.raises(AssertionError, match="asked other hosts"):
        Trouble(hosts={"127.0.0.1", "example.org"}).check()
