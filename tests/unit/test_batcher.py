"""The gateway's batcher: frames close by size or linger, keep the order of their events, and lose none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from live_adapters.pipeline.codec import EventArray, blank_events
from live_adapters.pipeline.ingress.batcher import Batcher, Frame, frame_id
from sentra_sim.scenario.keys import partition_of

LINGER_NS = 15


def some_events(keys: list[int], first: int = 1, event_bytes: int = 64) -> EventArray:
    events = blank_events(len(keys), event_bytes)
    events["key"] = keys
    events["sequence"] = np.arange(first, first + len(keys))
    return events


def keys_of(partition: int, count: int, partitions: int = 2) -> list[int]:
    keys = np.arange(10_000, dtype=np.uint32)
    return keys[partition_of(keys, partitions) == partition][:count].tolist()


def test_a_frame_closes_when_it_is_full_and_the_rest_opens_the_next() -> None:
    batcher = Batcher(2, max_events=3, linger_ns=LINGER_NS)
    assert batcher.add(some_events(keys_of(1, 2)), 100) == []
    full = batcher.add(some_events(keys_of(1, 5), first=3), 110)
    assert [frame.events["sequence"].tolist() for frame in full] == [[1, 2, 3], [4, 5, 6]]
    assert [(frame.received_ns, frame.closed_ns) for frame in full] == [(100, 110), (110, 110)]
    assert [frame.frame for frame in full] == [frame_id(1, 1), frame_id(1, 2)]
    assert batcher.deadline_ns() == 110 + LINGER_NS


def test_linger_runs_from_the_first_event_of_each_partition() -> None:
    batcher = Batcher(2, max_events=100, linger_ns=LINGER_NS)
    batcher.add(some_events(keys_of(0, 1)), 100)
    batcher.add(some_events(keys_of(1, 1)), 105)
    batcher.add(some_events(keys_of(0, 2)), 110)
    assert batcher.deadline_ns() == 115
    assert batcher.due(114) == []
    (first,) = batcher.due(115)
    assert (first.partition, len(first.events), first.received_ns, first.closed_ns) == (0, 3, 100, 115)
    assert batcher.deadline_ns() == 120
    (second,) = batcher.due(130)
    assert second.partition == 1
    assert batcher.deadline_ns() is None


def test_partitions_due_together_close_in_one_tick() -> None:
    batcher = Batcher(6, max_events=100, linger_ns=LINGER_NS)
    batcher.add(some_events(list(range(200))), 7)
    assert {frame.partition for frame in batcher.due(22)} == set(range(6))


def test_events_carry_the_id_of_their_frame() -> None:
    batcher = Batcher(2, max_events=2, linger_ns=LINGER_NS)
    (frame,) = batcher.add(some_events(keys_of(0, 2)), 1)
    assert frame.events["frame"].tolist() == [frame.frame] * 2


def test_a_frame_holds_events_of_one_length_only() -> None:
    batcher = Batcher(2, max_events=10, linger_ns=LINGER_NS)
    batcher.add(some_events(keys_of(0, 2)), 1)
    (closed,) = batcher.add(some_events(keys_of(0, 1), first=3, event_bytes=80), 2)
    (open_one,) = batcher.close_all(3)
    assert (closed.events.itemsize, len(closed.events)) == (64, 2)
    assert (open_one.events.itemsize, len(open_one.events)) == (80, 1)


@given(
    messages=st.lists(st.lists(st.integers(0, 500), max_size=40), max_size=20),
    partitions=st.integers(1, 7),
    max_events=st.integers(1, 30),
)
def test_every_event_leaves_once_in_order_in_its_own_partition(
    messages: list[list[int]], partitions: int, max_events: int
) -> None:
    batcher = Batcher(partitions, max_events, LINGER_NS)
    frames: list[Frame] = []
    sent: list[tuple[int, int]] = []
    for number, keys in enumerate(messages):
        frames += batcher.due(10 * number)
        frames += batcher.add(some_events(keys, first=len(sent) + 1), 10 * number)
        sent += [(key, len(sent) + 1 + place) for place, key in enumerate(keys)]
    frames += batcher.close_all(10_000)
    for partition in range(partitions):
        mine = [frame for frame in frames if frame.partition == partition]
        assert [frame.frame for frame in mine] == [frame_id(partition, n + 1) for n in range(len(mine))]
        out = [event["sequence"].item() for frame in mine for event in frame.events]
        wanted = [
            sequence for key, sequence in sent if partition_of(np.array([key], np.uint32), partitions) == partition
        ]
        assert out == wanted
    assert all(0 < len(frame.events) <= max_events for frame in frames)
