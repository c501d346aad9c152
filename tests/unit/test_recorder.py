"""From hop logs to tables: split frames, repeated deliveries, restarts and losses come out as what they were."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from live_adapters.host.processes import HostUse
from live_adapters.load import LoadSummary
from live_adapters.pipeline import hoplog
from live_adapters.recording.recorder import Recording, record
from live_adapters.validity import judge
from sentra_sim.records import CpuSeries, Manifest, read_run, versions, write_run
from sentra_sim.scenario import load_scenario, processes, scenario_data, scenario_hash
from sentra_sim.units import NS_PER_S

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
EPOCH = 7 * NS_PER_S
MS = 1_000_000


def write(scratch: Path, log: tuple[str, str, Any], rows: list[tuple[int, ...]]) -> None:
    hop_log = hoplog.HopLog(scratch, *log)
    hop_log.append(np.array(rows, dtype=log[2]))
    hop_log.close()


def at(ms: float) -> int:
    return EPOCH + round(ms * MS)


def write_two_frames(scratch: Path) -> None:
    """Frame 1 of three events in one poll for two tenants; frame 2 of two events, split over two polls."""
    write(scratch, hoplog.GATEWAY_FRAMES, [(1, 0, 3, at(1), at(16), at(20)), (2, 1, 2, at(2), at(17), at(21))])
    intended = [(1, at(0.5)), (1, at(3)), (1, at(9)), (2, at(1.5)), (2, at(4))]
    write(scratch, hoplog.GATEWAY_INTENDED, intended)
    write(
        scratch,
        hoplog.WORKER_FRAMES,
        [
            (1, 100, 3, 0, at(22), at(23), at(24), at(25)),
            (2, 100, 1, 0, at(22), at(23), at(24), at(25)),
            (2, 101, 1, 0, at(30), at(31), at(32), at(33)),
        ],
    )
    write(scratch, hoplog.FANOUT_SENT, [(1, 3, at(26)), (2, 1, at(26)), (2, 1, at(34))])
    write(scratch, hoplog.SUBSCRIBER_DELIVERED, [(1, 2, at(27)), (1, 1, at(28)), (2, 1, at(27)), (2, 1, at(33.5))])
    write(scratch, hoplog.CLICKHOUSE_VISIBLE, [(1, 3, at(400)), (2, 2, at(400))])
    write(scratch, hoplog.GENERATOR_MESSAGES, [(at(2), at(2.25), 3), (at(4), at(4), 2)])


def host_use(seconds: int = 2) -> HostUse:
    names = processes(SCENARIO)
    some = CpuSeries(names, np.full((len(names), seconds), 0.25))
    return HostUse(
        some,
        some,
        np.zeros(seconds),
        np.full(seconds, 1.5),
        np.ones(seconds),
        {"gateway": 0.01},
        resident_bytes={"gateway": np.array([5e7, 6e7]), "worker": np.array([np.nan, 8e7])},
        open_fds={"gateway": np.array([20.0, 21.0])},
    )


def recorded(scratch: Path) -> Recording:
    return record(scratch, SCENARIO, EPOCH, host_use())


def test_a_split_frame_takes_the_last_time_of_each_hop_and_the_last_delivery(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    frames = recorded(tmp_path).tables.frames.sort("frame")
    assert frames["started_ns"].to_list() == [22 * MS, 30 * MS]
    assert frames["committed_ns"].to_list() == [24 * MS, 32 * MS]
    assert frames["delivered_ns"].to_list() == [28 * MS, 33.5 * MS]
    assert frames["clickhouse_ns"].to_list() == [400 * MS, 400 * MS]
    assert frames["poll"].to_list() == [100, 101]
    assert frames["outcome"].to_list() == ["ok", "ok"]


def test_events_carry_their_intended_time_relative_to_the_frames_first_hop(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    events = recorded(tmp_path).tables.events
    assert events["frame"].to_list() == [1, 1, 1, 2, 2]
    assert events["intended_offset_ns"].to_list() == [-0.5 * MS, 2 * MS, 8 * MS, -0.5 * MS, 2 * MS]


def test_a_frame_is_of_the_release_that_priced_most_of_its_events(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.WORKER_RELEASES, [(1, 3, 1), (2, 1, 1), (2, 1, 1)])
    frames = recorded(tmp_path).tables.frames.sort("frame")
    assert frames["release"].to_list() == ["stable", "canary"]
    (tmp_path / "worker.releases.bin").unlink()
    write(tmp_path, hoplog.WORKER_RELEASES, [(1, 3, 2), (2, 1, 1)])
    frames = recorded(tmp_path).tables.frames.sort("frame")
    assert frames["release"].to_list() == ["canary", "stable"]  # half of two events is not most of them


def test_what_each_release_did_is_told_by_the_second_and_nothing_is_told_without_a_canary(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    name = pl.col("name")
    assert recorded(tmp_path).tables.metrics.filter(name.str.starts_with("sentra_release")).is_empty()
    jobs = [
        (at(10), False, 80, False, 0, 0, 2 * MS, 3 * MS),
        (at(10), True, 20, False, 5, 1, MS, 2 * MS),
        (at(20), True, 10, True, 0, 0, MS, 7 * MS),
        (at(1500), False, 40, False, 0, 0, MS, MS),
        (at(5000), False, 40, False, 0, 0, MS, MS),  # after the horizon
    ]
    write(tmp_path, hoplog.PRICING_RELEASES, jobs)
    told = recorded(tmp_path).tables.metrics.filter(name.str.starts_with("sentra_release"))
    values = {
        (row["name"].removeprefix("sentra_release_"), row["labels"].split('"')[1], row["time_s"]): row["value"]
        for row in told.iter_rows(named=True)
    }
    assert (values["events", "stable", 1.0], values["events", "stable", 2.0]) == (80, 40)
    assert (values["events", "canary", 1.0], values["errors", "canary", 1.0]) == (20, 1)
    assert (values["shadow_checked", "canary", 1.0], values["shadow_wrong", "canary", 1.0]) == (5, 1)
    assert values["cpu_seconds", "canary", 1.0] == pytest.approx(0.002)
    assert values["job_seconds", "canary", 1.0] == pytest.approx(0.007)
    assert ("job_seconds", "canary", 2.0) not in values


def test_the_receiver_proves_when_the_sender_was_done(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    recording = recorded(tmp_path)
    frames = recording.tables.frames.sort("frame")
    assert frames["sent_ns"].to_list() == [26 * MS, 33.5 * MS]  # noted at 34 ms, held by the subscriber at 33.5 ms
    assert recording.late_stamps == 1
    assert recording.negative_hops == {}


def test_a_poll_that_redis_did_not_take_leaves_its_frames_without_that_hop(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.WORKER_FRAMES, [(2, 102, 1, 0, at(30), at(31), at(32), 0)])
    recording = recorded(tmp_path)
    assert recording.tables.frames.sort("frame")["redis_ns"].to_list() == [25 * MS, None]
    assert recording.negative_hops == {}


def test_a_clock_that_runs_backwards_is_found(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.WORKER_FRAMES, [(1, 102, 3, 0, at(40), at(39), at(41), at(42))])
    assert recorded(tmp_path).negative_hops["priced"] == 1


def test_polls_that_only_refused_duplicates_do_not_move_a_frame(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.WORKER_FRAMES, [(1, 103, 3, 3, at(50), at(51), at(52), at(53))])
    frames = recorded(tmp_path).tables.frames.sort("frame")
    assert frames["started_ns"].to_list() == [22 * MS, 30 * MS]
    assert frames["poll"].to_list() == [100, 101]


def test_a_frame_that_arrived_in_part_is_lost_and_was_never_delivered(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.GATEWAY_FRAMES, [(3, 0, 2, at(60), at(61), at(62))])
    write(tmp_path, hoplog.GATEWAY_INTENDED, [(3, at(59)), (3, at(59.5))])
    write(tmp_path, hoplog.SUBSCRIBER_DELIVERED, [(3, 1, at(70))])
    recording = recorded(tmp_path)
    last = recording.tables.frames.filter(pl.col("frame") == 3).row(0, named=True)
    assert (last["outcome"], last["delivered_ns"], last["started_ns"], last["poll"]) == ("lost", None, None, None)
    assert (recording.counters["acked"], recording.counters["delivered"]) == (7, 6)


def test_logs_of_frames_that_were_never_acknowledged_are_left_out(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    write(tmp_path, hoplog.GATEWAY_INTENDED, [(9, at(60))])
    write(tmp_path, hoplog.FANOUT_SENT, [(9, 1, at(61))])
    write(tmp_path, hoplog.SUBSCRIBER_DELIVERED, [(9, 1, at(62))])
    recording = recorded(tmp_path)
    assert recording.tables.frames["frame"].to_list() == [1, 2]
    assert recording.counters["delivered"] == 5


def test_metrics_tell_of_cpu_run_delay_host_and_lateness(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    metrics = recorded(tmp_path).tables.metrics

    def value(name: str, labels: str = "") -> list[float]:
        return metrics.filter((pl.col("name") == name) & (pl.col("labels") == labels))["value"].to_list()

    assert value("process_cpu_seconds", 'process="kafka-2"') == [0.25, 0.25]
    assert value("process_run_delay_seconds", 'process="subscriber"') == [0.25, 0.25]
    assert value("node_cpu_seconds", 'mode="busy"') == [1.5, 1.5]
    assert value("sentra_generator_lateness_seconds", 'quantile="1"') == pytest.approx([0.25e-3, 0.0])
    assert value("sentra_hop_events", 'hop="delivered"') == [5.0, 0.0]
    assert value("process_resident_memory_bytes", 'process="gateway"') == [5e7, 6e7]
    assert value("process_resident_memory_bytes", 'process="worker"') == [8e7]  # there was none in the first second
    assert value("process_open_fds", 'process="gateway"') == [20.0, 21.0]


def test_the_gateways_logs_are_read_in_blocks_and_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_frames(tmp_path)
    whole = recorded(tmp_path).tables.events
    monkeypatch.setattr(hoplog.read_blocks, "__defaults__", (2,))
    assert recorded(tmp_path).tables.events.equals(whole)
    write(tmp_path, hoplog.GATEWAY_FRAMES, [(7, 0, 1, at(60), at(61), at(62))])
    with pytest.raises(ValueError, match="must hold the same frames"):
        recorded(tmp_path)


def test_a_recording_is_a_run_by_the_record_contract(tmp_path: Path) -> None:
    write_two_frames(tmp_path)
    manifest = Manifest(
        source="measured",
        scenario=scenario_data(SCENARIO),
        scenario_hash=scenario_hash(SCENARIO),
        seed=1,
        rate_eps=50_000.0,
        warmup_s=0.0,
        seconds=2.0,
        started_at="2026-01-01T00:00:00+00:00",
        versions=versions(),
        machine={},
        offered_events=5,
    )
    run = read_run(write_run(tmp_path / "run", recorded(tmp_path).tables, manifest))
    assert run.tables.frames.height == 2


def summary(**changes: Any) -> LoadSummary:
    whole: dict[str, Any] = {
        "epoch_ns": EPOCH,
        "sent_events": 5,
        "received_events": 5,
        "acked_events": 5,
        "refused_events": 0,
        "offered_events": 5,
        "send_delay_p50_s": 0.001,
        "send_delay_p99_s": 0.002,
        "lateness_p99_s": 0.0001,
        "lateness_max_s": 0.0002,
    }
    return LoadSummary(**whole | changes)


COUNTERS = {"sent": 5, "refused": 0, "acked": 5, "delivered": 5, "lost": 0, "duplicates": 0, "unread": 0}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"late": {"send_delay_p99_s": 0.0061}}, "P99 send delay must be at most 5 ms, got 6.1 ms"),
        ({"late": {"lateness_max_s": 0.08}}, "got 80.0 ms; the generator was starved"),
        ({"late": {"send_delay_p99_s": None}}, "the generator must send events in the window, got none"),
        ({"counters": {"acked": 4}}, "every event sent must be acknowledged, got 4 of 5"),
        ({"counters": {"delivered": 3}, "drained": False}, "got 2 events still missing"),
        ({"counters": {"lost": 2}}, "lost must be 0, got 2"),
        ({"counters": {"duplicates": 1}}, "duplicates must be 0, got 1"),
        ({"counters": {"unread": 1}}, "unread must be 0, got 1"),
        ({"steal_s": 5.0}, "CPU steal must be at most 2%"),
        ({"compiling_s": 5.0}, "the brokers' compilers may take at most 5% of the cores"),
        ({"foreign_s": 2.0}, "other processes may take at most 10% of the cores, got"),
    ],
)
def test_the_verdict_names_the_broken_rule(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_two_frames(tmp_path)
    compiling = {("kafka-1", "C2 CompilerThre"): np.array([0.0, changes.get("compiling_s", 0.0)])}
    host = replace(host_use(), threads=compiling)
    host.steal_s[1] = changes.get("steal_s", 0.0)
    host.busy_s[:] = host.cpu.seconds.sum(axis=0) + changes.get("foreign_s", 0.0)
    verdict = judge(
        summary(**changes.get("late", {})),
        recorded(tmp_path),
        host,
        window_s=(0.0, 2.0),
        counters=COUNTERS | changes.get("counters", {}),
        drained=changes.get("drained", True),
        host_speed=1.0,
    )
    assert verdict.valid is (reason == "")
    assert reason in " ".join(verdict.reasons)
