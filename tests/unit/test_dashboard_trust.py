"""May the twin be trusted: the verdict follows the last validation, and only as long as it is of this twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentra_sim.dashboard.page_compare import _kpi_cells, bound_words
from sentra_sim.dashboard.store import Store
from sentra_sim.dashboard.trust import Trust, assess, error_table, held_out_runs
from sentra_sim.dashboard.words import amount, badge, digits, facts, interval, kpi_words, notice, sign, signed_percent
from sentra_sim.kpi import Kpi
from tests.builders import save_run, save_verdict


def workspace(folder: Path, *, error: float = 0.04) -> None:
    held_out = [save_run(folder / "held-out", rate_eps=4_000.0, seconds=5.0)]
    training = [save_run(folder / "trained", rate_eps=2_000.0, seconds=5.0)]
    save_verdict(folder, held_out, training, error=error)


def look(folder: Path) -> Trust:
    return assess(folder, Store(folder).entries())


@pytest.mark.parametrize(("error", "state"), [(0.04, "yes"), (0.5, "no")])
def test_the_verdict_is_the_validations(tmp_path: Path, error: float, state: str) -> None:
    workspace(tmp_path, error=error)
    trust = look(tmp_path)
    assert trust.state == state
    assert trust.steps == ()
    assert trust.reason.startswith("end to end P95 at 4000 events/s is off by")
    assert held_out_runs(trust.validation) == ("held-out",)


def test_a_twin_changed_since_its_validation_is_not_known(tmp_path: Path) -> None:
    workspace(tmp_path)
    twin = tmp_path / "twin.yaml"
    twin.write_text(
        twin.read_text(encoding="utf-8").replace("discipline: ps", "discipline: fifo-slice", 1), encoding="utf-8"
    )
    trust = look(tmp_path)
    assert trust.state == "not known"
    assert "has changed since it was validated" in trust.reason
    assert [step.command.split()[1] for step in trust.steps] == ["validate"]


def test_a_damaged_validation_or_twin_is_not_known_and_says_which(tmp_path: Path) -> None:
    workspace(tmp_path)
    (tmp_path / "twin.yaml").write_text("scenario: 7\n", encoding="utf-8")
    assert "twin.yaml" in look(tmp_path).reason
    (tmp_path / "validation.json").write_text("{", encoding="utf-8")
    trust = look(tmp_path)
    assert trust.state == "not known"
    assert "validation.json" in trust.reason


def test_what_is_missing_is_named_in_the_order_in_which_it_is_made(tmp_path: Path) -> None:
    trust = look(tmp_path / "runs")
    assert trust.state == "not known"
    assert "does not exist yet" in trust.reason
    assert [step.command.split()[1] for step in trust.steps] == ["measure", "calibrate", "validate"]
    for rate in (2_000, 4_000, 6_000):
        save_run(tmp_path / "runs" / f"m{rate}", rate_eps=float(rate), seconds=3.0)
    trust = look(tmp_path / "runs")
    assert "no twin.yaml yet" in trust.reason
    assert [step.command.split()[1] for step in trust.steps] == ["calibrate", "validate"]
    assert str(tmp_path / "runs" / "m4000") in trust.steps[-1].command


def test_errors_carry_their_interval_relative_to_the_measured_value(tmp_path: Path) -> None:
    workspace(tmp_path, error=0.10)
    validation = look(tmp_path).validation
    assert validation is not None
    row = error_table(validation).row(1, named=True)
    assert row["label"] == "end to end P95"
    assert row["error"] == pytest.approx(0.10)
    assert row["low"] == pytest.approx(1.10 * 0.95 - 1)
    assert row["high"] == pytest.approx(1.10 * 1.06 - 1)
    assert row["baseline"] == -0.21


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_numbers_carry_units_and_missing_is_not_zero() -> None:
    assert plain(amount(0.01234, "s")) == "12.3 ms"
    assert plain(amount(0.0, "s")) == "0 ms"
    assert plain(amount(None, "s")) == "nodata"
    assert plain(amount(0.9995, "fraction")) == "99.95 %"
    assert plain(amount(50_012.3, "events/s")) == "50,012 events/s"
    assert interval(None, 0.2, "s") == ""
    assert interval(0.01, 0.02, "s") == "[10.0, 20.0]"
    assert plain(signed_percent(-0.034)) == "−3.4 %"
    assert plain(signed_percent(None)) == "nodata"
    assert digits(1234.5) == "1,234"


def test_names_read_as_a_person_says_them() -> None:
    assert kpi_words("e2e_p95_s") == "end to end P95"
    assert kpi_words("cpu_us_per_event") == "CPU per event"
    assert kpi_words("lag_max_events") == "lag max"
    assert plain(bound_words(Kpi("e2e_p95_s", "s", 0.1, bound="<= 0.12"))) == "≤ 120 ms"
    assert plain(bound_words(Kpi("e2e_p95_s", "s", 0.1))) == ""


def test_a_verdict_is_said_in_words_or_signs_not_by_colour_alone() -> None:
    assert "breach" in badge("breach")
    assert 'aria-label="breach"' in sign("breach")
    assert sign("-") == badge("-") == ""


def test_text_from_files_is_escaped() -> None:
    assert "<script>" not in notice("<script>alert(1)</script>")
    assert "<b>" not in facts([("<b>", "x")])


def test_a_saturated_latency_says_so_and_what_may_be_zero_has_no_deviation() -> None:
    kept_up, saturated = Kpi("e2e_p95_s", "s", 0.05, 0.04, 0.06), Kpi("e2e_p95_s", "s", None, verdict="saturated")
    _, _, other, deviation = _kpi_cells(kept_up, saturated)
    assert (other.endswith("saturated"), deviation) == (True, "–")
    growth = Kpi("backlog_growth_eps", "events/s", 1.0, -2.0, 4.0)
    assert _kpi_cells(growth, Kpi("backlog_growth_eps", "events/s", 90.0))[-1] == "–"
    assert _kpi_cells(kept_up, Kpi("e2e_p95_s", "s", 0.1))[-1].startswith("+100.0")
