"""The demo in small: real runs at three loads, one of them held out, to the table and the files that the dashboard reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sentra_sim.cli import demo
from sentra_sim.records import Validity, read_run
from sentra_sim.twin import load_validation

pytestmark = pytest.mark.live

SMALL = demo.Protocol(
    trained_eps=(4_000.0, 10_000.0),
    held_out_eps=7_000.0,
    repeats=1,
    seconds=4.0,
    warmup_s=1.0,
    warmup_eps=(7_000.0,),
    warmup_run_s=2.0,
    retries=0,
)


def test_from_nothing_to_a_verdict_and_again_without_measuring(
    stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SCENARIO", Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
    folder = tmp_path / "runs"
    demo.run_demo(folder, no_serve=True, protocol=SMALL)
    shown = capsys.readouterr().out
    assert "7,000 events/s (held out, 1 measured" in shown
    assert "twin: " in shown
    found = load_validation(folder / "validation.json")
    held_out = {row.name: row for row in found.rows if row.rate_eps == SMALL.held_out_eps and row.kind == "kpi"}
    # Brokers this cold stall for seconds, so no figure is judged here but that nothing got lost.
    assert held_out["throughput_eps"].error is not None
    assert held_out["e2e_p50_s"].error is not None
    measured = read_run(folder / "measured-7000-1").manifest
    assert measured.counters["delivered"] == measured.counters["sent"] == 35_000
    assert read_run(folder / "simulated-7000").manifest.twin is not None
    assert not list(folder.glob(".*")), "nothing half-written is left"

    # A busy machine spoils measurements, and spoilt ones are measured again; here all count as valid.
    for path in folder.glob("measured-*"):
        manifest = read_run(path).manifest.model_copy(update={"validity": Validity()})
        (path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("measured-*/frames.parquet")}
    demo.run_demo(folder, no_serve=True, protocol=SMALL)
    assert {path: path.stat().st_mtime_ns for path in before} == before
