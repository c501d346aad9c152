"""The tables for a twin: what processes and brokers did beside the hops, on the clock of the hops."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline import hoplog
from live_adapters.pipeline.consumer.arrivals import Arrivals
from live_adapters.pipeline.consumer.poll import PIECE, Batch
from live_adapters.pipeline.telemetry.gclog import GcPauses
from live_adapters.recording import details_table, jobs_table, pauses_table
from sentra_sim.records import DETAIL_COLUMNS, JOB_COLUMNS, PAUSE_COLUMNS

EPOCH = 7_000_000_000
MS = 1_000_000
BROKER_LOG = """\
[6900000000ns][gc,start    ] GC(0) Pause Young (Normal) (G1 Evacuation Pause)
[6905000000ns][gc          ] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 24M->6M(512M) 5.000ms
[7010000000ns][gc,start    ] GC(1) Pause Young (Normal) (G1 Evacuation Pause)
[7012500000ns][gc,phases   ] GC(1)   Evacuate Collection Set: 1.0ms
[7012500000ns][gc          ] GC(1) Pause Young (Normal) (G1 Evacuation Pause) 30M->7M(512M) 2.500ms
[7012600000ns][safepoint   ] Safepoint "G1CollectForAllocation", Time since last: 107000000 ns, Reaching safepoint: \
60000 ns, At safepoint: 2612000 ns, Leaving safepoint: 28000 ns, Total: 2700000 ns, Threads: 1 runnable, 30 total
[7020000000ns][gc          ] GC(2) Concurrent Mark Cycle 4.000ms
[9500000000ns][gc          ] GC(3) Pause Remark 10M->10M(512M) 1.000ms
"""


def at(ms: float) -> int:
    return EPOCH + round(ms * MS)


def write(scratch: Path, log: tuple[str, str, Any], rows: list[tuple[int, ...]]) -> None:
    hop_log = hoplog.HopLog(scratch, *log)
    hop_log.append(np.array(rows, dtype=log[2]))
    hop_log.close()


def test_a_broker_s_collections_and_safepoints_are_pauses_of_the_run_they_fall_into(tmp_path: Path) -> None:
    (tmp_path / "kafka-2.gc.log").write_text(BROKER_LOG)
    (tmp_path / "kafka-2.gc.log.0").write_text(
        "[7100000000ns][gc   ] GC(9) Pause Full (System.gc()) 9M->5M(512M) 8.000ms\n"
    )
    table = pauses_table(tmp_path, tmp_path, EPOCH, EPOCH + 2_000 * MS)
    assert dict(table.schema) == PAUSE_COLUMNS
    assert table.rows() == [
        ("kafka-2", "safepoint", round(9.9 * MS), round(12.6 * MS)),
        ("kafka-2", "jvm-gc", 10 * MS, round(12.5 * MS)),
        ("kafka-2", "jvm-gc", 92 * MS, 100 * MS),
    ]


def test_a_python_process_tells_its_collections_while_it_is_asked_to(tmp_path: Path) -> None:
    ticks = iter(range(at(1), at(100), MS))
    pauses = GcPauses(tmp_path, "worker", clock=lambda: next(ticks))
    gc.disable()  # none but the one asked for
    try:
        pauses.start()
        gc.collect()
        pauses.stop()
        gc.collect()
    finally:
        gc.enable()
    assert (pauses.collections, pauses.paused_ns) == (1, MS)
    assert pauses_table(tmp_path, None, EPOCH, at(50)).rows() == [("worker", "gc", MS, 2 * MS)]


def test_without_logs_there_are_no_pauses_and_no_jobs_but_every_frame_has_its_row(tmp_path: Path) -> None:
    assert pauses_table(tmp_path, tmp_path / "nowhere", EPOCH, at(50)).is_empty()
    assert jobs_table(tmp_path, EPOCH).is_empty()
    details = details_table(tmp_path, np.array([4, 3]), EPOCH)
    assert details.rows() == [(4, None, None, None), (3, None, None, None)]


def test_jobs_of_all_processes_come_in_one_table_and_what_was_not_measured_is_null(tmp_path: Path) -> None:
    write(tmp_path, ("worker-1", "jobs", hoplog.JOBS), [(at(1), at(9), 3 * MS, 2, 700)])
    write(tmp_path, ("worker-1", "trims", hoplog.JOBS), [(at(20), at(22), 0, 0, 0)])
    write(tmp_path, ("clickhouse", "merges", hoplog.JOBS), [(at(30), at(40), 6 * MS, 0, 0)])
    poll = (at(1), at(2), at(6), 0)  # Redis was away
    rows = [(frame, 99, events, 0, *poll) for frame, events in ((5, 500), (6, 200))]
    write(tmp_path, ("worker-1", "frames", hoplog.WORKER), rows)
    table = jobs_table(tmp_path, EPOCH)
    assert dict(table.schema) == JOB_COLUMNS
    assert table.rows() == [
        ("worker-1", "poll", 1 * MS, 9 * MS, 3 * MS, 2, 700),
        ("worker-1", "ask-price", 1 * MS, 2 * MS, None, 2, 700),
        ("worker-1", "commit", 2 * MS, 6 * MS, None, 2, 700),
        ("worker-1", "trim", 20 * MS, 22 * MS, None, None, None),
        ("clickhouse", "merge", 30 * MS, 40 * MS, 6 * MS, None, None),
    ]


def test_a_frame_was_fetched_when_its_last_piece_was(tmp_path: Path) -> None:
    write(tmp_path, hoplog.GATEWAY_PRODUCED, [(3, at(1)), (4, at(2))])
    write(tmp_path, hoplog.WORKER_FETCHED, [(3, at(5), 100), (3, at(8), 130), (4, at(6), -1)])
    table = details_table(tmp_path, np.array([4, 3]), EPOCH)
    assert dict(table.schema) == DETAIL_COLUMNS
    assert table.rows() == [(4, 2 * MS, 6 * MS, None), (3, 1 * MS, 8 * MS, 130)]


def test_the_consumer_notes_when_each_frame_of_a_poll_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = Arrivals(tmp_path, "worker")
    for partition, now in ((0, at(3)), (1, at(4))):
        monkeypatch.setattr("time.monotonic_ns", lambda now=now: now)
        arrivals.note([Batch(partition, 10, 20, 10, b"")], {0: 25}.get)
    pieces = np.zeros(3, dtype=PIECE)
    pieces["frame"], pieces["partition"], pieces["next_offset"] = [7, 8, 9], [0, 1, 1], [20, 20, 15]
    arrivals.tell(pieces)
    arrivals.tell(pieces)  # read again after a store was away: noted anew or not at all
    rows = hoplog.read_log(tmp_path, *hoplog.WORKER_FETCHED)
    assert rows.tolist() == [(7, at(3), 25), (8, at(4), -1)]


def test_optional_tables_are_sorted_by_time(tmp_path: Path) -> None:
    write(tmp_path, ("pricing", "jobs", hoplog.JOBS), [(at(5), at(6), MS, 1, 10)])
    write(tmp_path, ("fanout", "jobs", hoplog.JOBS), [(at(2), at(3), MS, 1, 10), (at(7), at(8), MS, 1, 10)])
    table = jobs_table(tmp_path, EPOCH)
    assert table["kind"].to_list() == ["send", "price", "send"]
