"""One event's way: the slowest events are the slowest, and a way adds up to the end-to-end time."""

import json
from pathlib import Path

import numpy as np
import pytest

from live_adapters.pipeline.telemetry.export import FileExporter, SpanSink
from live_adapters.pipeline.telemetry.frametrace import frame_spans
from sentra_sim.cli.main import main
from sentra_sim.cli.waterfall import BAR_CELLS, bar
from sentra_sim.errors import InputError
from sentra_sim.kpi import Step, slowest, timeline, waterfall
from sentra_sim.records import Run, write_run
from tests.builders import make_run, save_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs") / "run", seconds=5.0)


def test_the_slowest_events_are_those_with_the_longest_latency_one_a_frame(run: Run) -> None:
    line = timeline(run)
    latency = line.span("intended", "delivered")
    ways = slowest(run, 5)
    worst = [float(np.nanmax(latency[line.frame == frame])) for frame in np.unique(line.frame)]
    assert [way.latency_s for way in ways] == pytest.approx(sorted(worst, reverse=True)[:5], abs=1e-9)
    assert len({way.event.split("/")[0] for way in ways}) == 5


def test_a_way_starts_at_the_intended_time_and_its_steps_meet(run: Run) -> None:
    (way,) = slowest(run, 1)
    ends = {"intended": 0.0} | {step.hop: step.end_s for step in way.steps}
    assert all(step.start_s == ends[step.after] for step in way.steps)
    assert ends["delivered"] == way.latency_s
    assert waterfall(run, way.event) == way


def test_every_event_of_a_frame_has_a_name_and_its_own_intended_time(run: Run) -> None:
    row = 3
    frame, count = run.tables.frames["frame"][row], run.tables.frames["events"][row]
    ways = [waterfall(run, f"{frame}/{number}") for number in range(1, count + 1)]
    offsets = run.tables.events.filter(run.tables.events["frame"] == frame)["intended_offset_ns"].to_numpy()
    assert [way.intended_s * 1e9 for way in ways] == pytest.approx(
        run.tables.frames["received_ns"][row] + offsets, abs=1.0
    )
    assert {(way.poll, way.partition, way.frame_events) for way in ways} == {(ways[0].poll, ways[0].partition, count)}


def test_what_never_came_is_missing_not_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seconds=5.0, lost_frames=2)
    lost = run.tables.frames.filter(run.tables.frames["delivered_ns"].is_null())["frame"][0]
    way = waterfall(run, f"{lost}/1")
    assert way.latency_s is None
    assert next(step.end_s for step in way.steps if step.hop == "delivered") is None
    assert all(way.latency_s is not None for way in slowest(run, 10_000))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("17", "must be FRAME/NUMBER, got '17'"),
        ("-1/2", "must be FRAME/NUMBER, got '-1/2'"),
        ("999999999999/1", "must be of a frame of"),
        ("{frame}/0", "must be 1 to "),
        ("{frame}/5000", "must be 1 to "),
    ],
)
def test_an_event_that_is_not_there_is_one_line(run: Run, event: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        waterfall(run, event.format(frame=run.tables.frames["frame"][0]))
    assert "\n" not in str(caught.value)


def test_bars_lie_end_to_end_on_one_scale() -> None:
    first, second = bar(Step("a", "intended", "s", 0.0, 0.5), 1.0), bar(Step("b", "a", "s", 0.5, 1.0), 1.0)
    assert first == "█" * (BAR_CELLS // 2)
    assert second == " " * (BAR_CELLS // 2) + "█" * (BAR_CELLS // 2)
    assert bar(Step("c", "a", "s", 0.5, 0.5001), 1.0).strip() == "·"
    assert bar(Step("d", "a", "s", 0.75, 9.0), 1.0) == " " * 36 + "█" * 12 + "→"
    assert bar(Step("e", "a", "s", 2.0, 9.0), 1.0) == " " * BAR_CELLS + "→"
    assert bar(Step("f", "a", "s", None, None), 1.0) == ""


def test_the_command_draws_the_way_and_gives_it_to_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_run(tmp_path / "run", seconds=5.0).path
    assert main(["trace", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert all(hop in shown for hop in ("received", "committed", "delivered"))
    assert main(["trace", str(folder), "--slowest", "2", "--json"]) == 0
    ways = json.loads(capsys.readouterr().out)
    assert len(ways) == 2
    assert ways[0]["latency_s"] >= ways[1]["latency_s"]
    assert main(["trace", str(folder), "nonsense"]) == 2
    assert main(["trace", str(folder), "--slowest", "0"]) == 2


def test_a_traced_run_names_the_trace_and_shows_its_recorded_spans(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (untraced,) = slowest(run, 1)
    assert untraced.trace_id is None
    frame = int(untraced.event.split("/")[0])
    sink = SpanSink("events-x", [FileExporter(tmp_path / "spans.jsonl.gz")], 0)
    sink.put(frame_spans("events-x", frame, 2, {"received": 5, "acked": 9, "started": 12}, [1, 2]))
    sink.put(frame_spans("events-x", frame + 10**9, 2, {"received": 5, "acked": 9}, [1, 2]))
    manifest = run.manifest.model_copy(update={"trace_run": "events-x"})
    folder = write_run(tmp_path / "traced", run.tables, manifest, attached=[tmp_path / "spans.jsonl.gz"])
    assert main(["trace", str(folder), "--json"]) == 0
    (way,) = json.loads(capsys.readouterr().out)
    assert main(["trace", str(folder), "--spans", "--json"]) == 0
    spans = json.loads(capsys.readouterr().out)
    assert [(span["name"], span["trace_id"]) for span in spans] == [
        ("send events", way["trace_id"]),
        ("poll events", way["trace_id"]),
    ]
    assert main(["trace", str(folder), "--spans"]) == 0
    assert "poll events" in capsys.readouterr().out
    plain = write_run(tmp_path / "plain", run.tables, run.manifest)
    assert main(["trace", str(plain), "--spans"]) == 0
    assert "no spans" in capsys.readouterr().out
