"""Hop logs: what one process writes another reads, even when the writer was killed in the middle of a row."""

from pathlib import Path

import numpy as np

from live_adapters.pipeline.hoplog import FANOUT_SENT, GATEWAY, VISIBLE, HopLog, read_log
from live_adapters.watch import LogCount, Watch


def rows(*frames: int) -> np.ndarray:
    return np.array([(frame, 10, frame * 100) for frame in frames], dtype=VISIBLE)


def test_rows_come_back_in_order_and_a_restarted_process_appends(tmp_path: Path) -> None:
    for frames in ((1, 2), (3,)):
        log = HopLog(tmp_path, *FANOUT_SENT)
        log.append(rows(*frames))
        log.close()
    assert read_log(tmp_path, *FANOUT_SENT).tolist() == [(1, 10, 100), (2, 10, 200), (3, 10, 300)]


def test_a_torn_last_row_is_left_out(tmp_path: Path) -> None:
    log = HopLog(tmp_path, *FANOUT_SENT)
    log.append(rows(1, 2))
    log.close()
    file = tmp_path / "fanout.sent.bin"
    file.write_bytes(file.read_bytes()[:-3])
    assert read_log(tmp_path, *FANOUT_SENT)["frame"].tolist() == [1]


def test_a_process_that_logged_nothing_has_no_rows(tmp_path: Path) -> None:
    assert len(read_log(tmp_path, *FANOUT_SENT)) == 0


def test_a_count_follows_a_growing_log_and_takes_a_torn_row_once_it_is_whole(tmp_path: Path) -> None:
    count = LogCount(tmp_path, FANOUT_SENT)
    assert count.look() == 0
    whole = rows(1, 2, 3).tobytes()
    file = tmp_path / "fanout.sent.bin"
    file.write_bytes(whole[:-5])
    assert count.look() == 20
    file.write_bytes(whole)
    assert count.look() == 30
    assert count.look() == 30


def test_a_run_is_drained_when_the_last_hops_have_everything_acknowledged(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    acked = np.zeros(1, dtype=GATEWAY)
    acked["events"] = 10
    (tmp_path / "gateway.frames.bin").write_bytes(acked.tobytes())
    assert not watch.drained()
    (tmp_path / "subscriber.delivered.bin").write_bytes(rows(1).tobytes())
    at = watch.progress("window", 2.0, 10.0)
    assert (at.acked_events, at.delivered_events, at.lag_events, at.acked_eps) == (10, 10, 0, 5.0)
    assert not watch.drained()
    (tmp_path / "clickhouse.visible.bin").write_bytes(rows(1).tobytes())
    assert watch.drained()
