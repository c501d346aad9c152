"""A poll as arrays: what came twice is refused, what is bad is put aside, what is left is summed up by key and cut by frame."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from live_adapters.pipeline.codec import EventArray, blank_events
from live_adapters.pipeline.consumer.poll import (
    MAX_SESSIONS,
    Batch,
    Originals,
    Sessions,
    assemble,
    duplicates_of,
    pack_sessions,
    sum_effects,
    unpack_sessions,
)


@dataclass
class Stands:
    next_offset: int = 100
    sessions: Sessions = field(default_factory=dict)


def events(*sequences: int, frame: int = 1, session: int = 1, key: int = 5) -> EventArray:
    made = blank_events(len(sequences), 64)
    made["sequence"], made["frame"], made["session"], made["key"] = sequences, frame, session, key
    made["quantity"], made["limit_price"] = 2.0, 100.0
    return made


def batch(made: EventArray, partition: int = 0, first: int = 100) -> Batch:
    return Batch(partition, first, first + len(made), len(made), made.tobytes())


def one_by_one(session: list[int], sequence: list[int], marks: dict[int, int]) -> list[bool]:
    refused = []
    for own, number in zip(session, sequence, strict=True):
        refused.append(number <= marks.get(own, 0))
        marks[own] = max(number, marks.get(own, 0))
    return refused


@pytest.mark.parametrize("seed", range(20))
def test_high_water_marks_refuse_what_a_look_at_each_event_would_refuse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sessions = rng.integers(1, 1 + rng.integers(1, 4), 60)
    sequences = np.abs(np.arange(60) + rng.integers(-9, 9, 60)) + 1
    marks, expected = {1: 7, 9: 3}, {1: 7, 9: 3}
    refused = duplicates_of(sessions.astype(np.uint32), sequences.astype(np.uint64), marks)
    assert refused.tolist() == one_by_one(sessions.tolist(), sequences.tolist(), expected)
    assert marks == expected


def test_marks_survive_the_progress_row_and_the_longest_silent_sessions_go_first() -> None:
    marks: Sessions = {}
    for session in [*range(1, MAX_SESSIONS + 1), 1, MAX_SESSIONS + 1]:
        duplicates_of(np.array([session], np.uint32), np.array([session + 5], np.uint64), marks)
    assert len(marks) == MAX_SESSIONS
    assert (1 in marks, 2 in marks) == (True, False)
    assert list(unpack_sessions(pack_sessions(marks)).items()) == list(marks.items())
    assert unpack_sessions(pack_sessions({})) == {}


def test_a_poll_is_cut_by_partition_and_frame_and_knows_where_each_piece_ends() -> None:
    batches = [
        batch(events(4, 5, frame=21), partition=2, first=52),
        batch(np.concatenate([events(1, 2, frame=10), events(3, frame=11)]), partition=0),
        batch(events(6, 7, 8, frame=22), partition=2, first=54),
    ]
    poll = assemble(batches, {0: Stands(100), 2: Stands(52, {1: 3})})
    fields = ["frame", "partition", "next_offset", "events", "duplicates", "rows"]
    assert poll.pieces[fields].tolist() == [
        (10, 0, 102, 2, 0, 2),
        (11, 0, 103, 1, 0, 1),
        (21, 2, 54, 2, 0, 2),
        (22, 2, 57, 3, 0, 3),
    ]
    found = [(p.partition, p.old_offset, p.next_offset, p.pieces, p.rows, p.sessions) for p in poll.parts]
    assert found == [(0, 100, 103, slice(0, 2), slice(0, 3), {1: 3}), (2, 52, 57, slice(2, 4), slice(3, 8), {1: 8})]
    assert poll.received == len(poll.events) == 8


def test_repeated_and_bad_events_of_a_good_frame_are_left_out_alone() -> None:
    made = events(1, 2, 3, 4, 5)
    made["limit_price"][1] = np.nan
    made["quantity"][3] = np.inf
    made["limit_price"][0] = -1.0  # bad, but a repetition first of all
    poll = assemble([batch(made)], {0: Stands(100, {1: 1})})
    assert poll.events["sequence"].tolist() == [3, 5]
    assert [(letter.offset, letter.partition) for letter in poll.dead] == [(101, 0), (103, 0)]
    assert poll.dead[0].reason == "quantity must be within ±1e+09 and limit_price from 1e-09 to 1e+09, got 2.0 and nan"
    assert (poll.parts[0].duplicates, poll.parts[0].dead, poll.parts[0].next_offset) == (1, 2, 105)
    assert poll.pieces[["events", "duplicates", "rows"]].tolist() == [(5, 1, 2)]


def test_records_that_are_no_events_are_put_aside_and_the_rest_takes_effect() -> None:
    good = events(1, 2)
    values = [good[:1].tobytes(), b"", b"not an event", good[1:].tobytes()]
    mixed = Batch(0, 100, 104, 4, b"".join(values), tuple(map(len, values)))
    poll = assemble([mixed, batch(events(1, frame=3), partition=1)], {0: Stands(), 1: Stands()})
    assert [(letter.offset, letter.value) for letter in poll.dead] == [(101, b""), (102, b"not an event")]
    assert poll.events["sequence"].tolist() == [1, 2, 1]
    assert [(part.dead, part.next_offset) for part in poll.parts] == [(2, 104), (0, 101)]
    only_bad = assemble([Batch(0, 100, 101, 1, b"x")], {0: Stands()})
    assert (len(only_bad.events), len(only_bad.pieces), only_bad.parts[0].next_offset) == (0, 0, 101)
    assert len(sum_effects(only_bad, np.empty(0)).key) == 0


def test_effects_are_the_sums_of_a_keys_events_and_its_last_price() -> None:
    made = np.concatenate([events(1, 2, 3, key=7), events(4, key=3), events(5, key=7)])
    made["quantity"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    poll = assemble([batch(made), batch(events(9, key=2), partition=1)], {0: Stands(), 1: Stands()})
    effects = sum_effects(poll, np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))
    assert effects.key.tolist() == [3, 7, 2]
    assert effects.partition.tolist() == [0, 0, 1]
    assert effects.events.tolist() == [1, 4, 1]
    assert effects.quantity.tolist() == [4.0, 11.0, 2.0]
    assert effects.notional.tolist() == [160.0, 10.0 + 40.0 + 90.0 + 250.0, 120.0]
    assert effects.price.tolist() == [40.0, 50.0, 60.0]
    assert effects.rows["price"].tolist() == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]


def test_a_letter_holds_key_and_value_of_the_log_and_no_other_batch_is_read_again() -> None:
    made = events(1, 2, 3)
    made["limit_price"][1] = -1.0

    def unread() -> Originals:
        raise AssertionError("read again although nothing of it is bad")

    spoilt = replace(batch(made), originals=lambda: {100 + n: (b"key %d" % n, made[n].tobytes()) for n in range(3)})
    sound = replace(batch(events(4, 5), first=103), originals=unread)
    (letter,) = assemble([spoilt, sound], {0: Stands()}).dead
    assert (letter.offset, letter.key, letter.value) == (101, b"key 1", made[1].tobytes())
