"""What sizes of events do: batches that are full by bytes, disks that are busy, fetches that are answered."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Trace, prepare, run
from sentra_sim.engine.run import Engine
from sentra_sim.errors import ScenarioError
from tests.pipelines import bare, hop_times

TOGETHER = {"load.rate_eps": 2000.0, "stations.batcher.max_events": 500, "stations.batcher.linger_s": 0.02}
MIX = {"dist": "mix", "bytes": [100, 10_000], "weights": [0.9, 0.1]}
DISK = {"stations.log.disk_bytes_per_s": 10e6}


def play(keys: dict[str, Any], engine: Engine = "compiled") -> Trace:
    return run(prepare(bare(TOGETHER | keys), seconds=5.0, seed=1), engine=engine)


def waits_for_disk_s(keys: dict[str, Any]) -> np.ndarray:
    trace = play(DISK | keys)
    return hop_times(bare(TOGETHER), trace, "acked") - hop_times(bare(TOGETHER), trace, "closed")


def lognormal(mean_bytes: float, cv: float = 1.0, per: str = "event") -> dict[str, Any]:
    return {"load.sizes": {"dist": "lognormal", "mean_bytes": mean_bytes, "cv": cv, "per": per}}


def test_a_batch_is_full_at_its_limit_of_bytes_before_its_linger_is_over() -> None:
    by_linger, by_size = play({}), play({"stations.batcher.batch_bytes": 640})
    assert by_linger.events.max() == 41  # 2,000/s for 20 ms, and the first
    assert by_size.events.max() == 10  # of 64 bytes each
    assert np.median(by_size.events) == 10


def test_a_limit_of_batches_costs_a_producer_of_large_events_most() -> None:
    keys = {"stations.batcher.batch_bytes": 16_384}
    events = [play(keys | lognormal(mean, 0.5)).events.mean() for mean in (100.0, 2_000.0, 50_000.0)]
    assert events[0] > 30.0
    assert 12.0 > events[1] > events[2] >= 1.0
    assert events[2] < 1.05  # nearly all have a frame for themselves


def test_rare_large_events_make_the_disk_s_tail() -> None:
    """Of the same mean, a tenth of the events of 10 kB keeps others waiting more than all of 1,090 bytes do."""
    alike, uneven = (
        waits_for_disk_s({"load.sizes": sizes}) for sizes in ({"dist": "constant", "mean_bytes": 1090}, MIX)
    )
    assert uneven.mean() == pytest.approx(alike.mean(), rel=0.1)
    assert np.quantile(uneven, 0.99) > 1.4 * np.quantile(alike, 0.99)


def test_sizes_of_a_frame_vary_more_than_those_of_its_events_by_themselves() -> None:
    by_event, by_frame = (waits_for_disk_s(lognormal(1000.0, 1.0, per)) for per in ("event", "frame"))
    assert by_frame.std() > 3.0 * by_event.std()


def test_large_events_end_a_fetch_s_wait() -> None:
    keys = {"stations.group.fetch_min_bytes": 100_000}
    waits = []
    for mean_bytes in (64.0, 10_000.0):
        trace = play(keys | lognormal(mean_bytes))
        waits.append(np.mean(hop_times(bare(TOGETHER), trace, "started") - hop_times(bare(TOGETHER), trace, "acked")))
    assert waits[1] < 0.1 * waits[0]


@pytest.mark.parametrize(
    ("sizes", "rule"),
    [
        ({"dist": "mix"}, "must have bytes with dist: mix"),
        ({"dist": "lognormal", "bytes": [1], "weights": [1.0]}, "only with it"),
        ({"dist": "mix", "bytes": [1, 2], "weights": [1.0]}, "a weight for each of 2 sizes, got 1"),
        ({"dist": "mix", "bytes": [1], "weights": [0.0]}, "a size of a weight > 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ScenarioError, match=rule):
        bare({"load.sizes": sizes})
