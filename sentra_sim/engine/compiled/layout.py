"""The records that the compiled engine's tables are made of, and the numbers that stand for kinds of things in them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.tallies import COLUMNAR as COLUMNAR_TALLIES
from sentra_sim.engine.tallies import EDGE as EDGE_TALLIES
from sentra_sim.engine.tallies import SSE as SSE_TALLIES
from sentra_sim.engine.tallies import TRANSACTIONAL as TRANSACTIONAL_TALLIES

Table = NDArray[np.void]


def _record(ints: str, floats: str = "") -> np.dtype[np.void]:
    fields: list[Any] = [(name, np.int64) for name in ints.split()] + [(name, np.float64) for name in floats.split()]
    return np.dtype(fields, align=True)


# Every row of a table is one thing of the model; -1 stands for "none". `*_head` and `*_tail` are ends of linked lists.
ADDRESSES = (
    "heap soon ring nodes hosts lanes threads servers works delays due first_event event_partition event_frame intended "
    "open_frame frame_table hops request_table request_frames poll_table poll_frames brokers shards copies replicas calls "
    "stations links backgrounds cpu virtual "
    "marks next_event place splits releases release_jobs owners breakers "
    "cgroups vacations "
    "stores commands columnars writers tiers edges slow_classes "
    "fetches size_classes_table parts segments lines "
    "messages event_copies frame_copies frame_repeats event_key event_message event_unheard tenants buckets pressures acked_frames "
    "event_poison frame_poison "
    "supply due_partitions hop_calls apart cores"
)
COUNTS = (
    "room host_count thread_count background_count broker_count replica_count call_count message_count event_count "
    "hop_count second_count partition_count release_job_room cgroup_count vacation_count store_count edge_count apart_count"
)


def _digest() -> str:
    """Identifies the engine's source. It is part of a field's name, and so of the type for which Numba caches compiled code.

    Numba itself only looks at the file that holds the cached function, not at those which it calls.
    """
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return f"{zlib.crc32(b''.join(file.read_bytes() for file in files)):08x}"


STATE = _record(
    f"{ADDRESSES} {COUNTS} source_{_digest()} "
    "seq heap_size soon_size ring_head ring_size failed free_node frames polls requests listed taken message "
    "frame_end poll_end request_end listed_end taken_end message_end event_end "
    "frame_kept poll_kept request_kept event_kept recycles "
    "source_thread source_work network_delay batcher_server receive_work close_work timer_delay "
    "timer_set closing_head closing_tail open_head open_tail "
    "max_events in_flight max_poll_events "
    "acks replication_factor min_in_sync high_watermark unclean controller event_bytes "
    "lag_events by_key canary release_jobs_done pressed poisonous noted dead_letters given_up sifted "
    "orphan_head orphan_tail protocol preparing last_mark keeps_first effect idempotent "
    "may_fail retry_attempts breaker_failures breaker_probes adaptive joined_count "
    "loss_draws "
    "retains reset_latest free_segment parking pulling pull_first weighs size_draw size_per_frame size_classes "
    "tracked gated retrying copy_count shared tenant_count key_quota "
    "resend_server resend_work backoff_delay retries budgeted "
    "mortal takes gateway_up gateway_starting gateway_life in_charge gateway_cgroup key_count "
    "line_count by_priority picks",
    "now seconds linger gather "
    "broker_session_timeout retry_backoff retry_backoff_max delivery_timeout restart preferred_election replica_lag "
    "controller_election disk "
    "shadow_share heartbeat session_timeout join ready retry_base retry_cap breaker_open max_age adapt_events poison_share "
    "retry_timeout retry_tokens budget_ratio budget_burst "
    "batch_bytes retention retention_bytes segment_bytes retention_check "
    "gateway_restart max_poll_interval",
)
INDEX = _record("value")
SMALL = np.dtype([("value", np.int16)])
NUMBER = _record("", "value")
# In the calendar `what` is a kind and its subject. As long as a vector, for `copy_entry`.
EVENT = _record("seq what detail", "time")
HOST = _record(
    "cores ps idle low_running starts alarm watched limited down stalls all_cores",
    "slice speed clock first_speed network loss",
)
LANE = _record("head tail active joined jobs", "virtual rate")  # two a host: 2*h normal, 2*h + 1 low priority
THREAD = _record(
    "role unit server host lane low process next work ref running start_number token cgroup sibling",
    "remaining started ran finished virtual_start asked",
)
CGROUP = _record(
    "host holds stopped thread_head parked_head parked_tail collector_first collectors running alarm reply",
    "quota period end used counted warm_factor warm_cpu done",
)
VACATION = _record("kind subject gap length every events due under_way")
SERVER = _record("head tail idle_head idle_tail")
NODE = _record("work ref next")
WORK = _record("numbers draw_count drawn stream", "job frame event factor cold tau")
DELAY = _record("numbers draw_count drawn stream crosses from_host to_host", "mean")
FRAME = _record("partition events poll next outcome attempts over request fetched offset", "bytes size")
PART = _record("start end floor head tail", "bytes active_bytes last")  # a partition where segments are deleted
SEGMENT = _record("next end", "bytes last")
SIZE_CLASS = _record("", "edge bytes")  # of a mix of sizes
OPEN = _record("frame room before after")
# `have`, `needs`, `sent` and `in_sync` are sets of replicas, bits by their step in the order of the shard's replicas.
REQUEST = _record(
    "shard first frames events catch_up acked appended gone fetched lost have needs sent previous next held_next orphan",
    "appended_at bytes",
)
POLL = _record("replica first frames events failed")
BROKER = _record(
    "server append_work replicate_work replication_delay fetch_delay "
    "up talking fenced killed ready session start_number cgroup",
    "latency disk_free",
)
SHARD = _record(
    "leader in_sync outstanding blocked stopped head tail open_head open_tail returned_head returned_tail "
    "held_head held_tail frames events unfetched_head unfetched_tail",
    "backoff bytes",
)
COPY = _record(
    "behind frames events catching_up", "lag at bytes"
)  # a shard's replicas: number * replication factor + step
REPLICA = _record(
    "thread fetch_work process_work finish_work head tail waiting poll call dedupe_work "
    "life session alive joined starting returning leaving giving_up fenced heard told held space attempt tries jitter "
    "late overdue watched",
    "phase ceiling gather polled",
)
BREAKER = _record("failures opened passed", "until")  # of a consumer, for one station that it calls
OWNER = _record("owner target mark line")  # of a partition: who polls it, who is to, when it became free; its line
# What waits for a consumer of one of the log's lanes, where lanes are told apart. Whose `turn` it is stands in the first one's row.
LINE = _record("head tail turn visiting", "left quantum")
STATION = _record(
    "server work delay handover hop link_first links called thread writer_waiting head tail "
    "second_server second_work second_hop failure_draw intake store",
    "flush last_start failure",
)
BACKGROUND = _record("thread work broker", "every due")
MARK = _record("last_event counted canary_events")  # what is noted of a frame beside its way; empty where nothing is
SPLIT = _record("release canary failed checked wrong left", "stable cost total begun")  # a poll at a pool with releases
RELEASE = _record(
    "threshold cold_events worked noise tail_draw error_draw shadow_draw begun",
    "factor tail_share tail_factor errors leak cold_factor wait wrong started",
)
STORE = _record(
    "station connections in_use waiting ready due committing outbox fsync siblings flushing life up starting "
    "events every_events notify batch relay_thread relay_work asleep relay_up command_first commands drains",
    "commit_delay page_writes every due_at stall until slowdown pages page unchanged restart redo poll looked "
    + " ".join(TRANSACTIONAL_TALLIES),
)
COLUMNAR = _record(
    "station first active turn fan_in merge_work parts_to_delay parts_to_throw",
    "min_delay max_delay retry " + " ".join(COLUMNAR_TALLIES),
)
WRITER = _record("store thread head tail busy rows parts merging tiers", "last_start")
TIER = _record("head tail count")
EDGE = _record(
    "station first classes deliver_work connect_work reconnect "
    "life job_life up starting welcome welcoming encoding parked "
    "sse sse_deliver_work sse_connect_work",
    "count restart read buffer hold reconnect_max sse_retry " + " ".join(EDGE_TALLIES + SSE_TALLIES),
)
SLOW_CLASS = _record("edge connected fast sse", "part share clients backoff unsent behind missed clock left")
COMMAND = _record("work child thread store running", "every first")
APART = _record("station host process first threads before busy starts", "clock")  # a station played apart
CORE = _record("poll start_number", "start end left ran")  # of one
FETCH = _record("head tail answer away timed answers broker follower bunch", "min_bytes bytes since wait")


# What there can be more of, beside numbers, of which there is a stream each from 0 on.
FRAMES, POLLS, TAKEN, REQUESTS, LISTED, LOAD, CALENDAR, NODES, RELEASE_JOBS, SEGMENTS = np.arange(-10, 0)
ROOM = 256  # calendar entries and queued jobs that there is room for at first; a power of two
SOON = 64  # calendar entries in the sorted list; one more row takes what comes from the heap

COOPERATIVE, EAGER, STATIC = range(3)  # how partitions change hands
PROTOCOLS = {"cooperative": COOPERATIVE, "eager": EAGER, "static": STATIC}

# Roles of threads: whose loop goes on when the thread's job is done.
SOURCE, BATCHER, LOG, CONSUMER, SERVE, WRITE, SEND, SUBSCRIBE, TICK, SPLITS, NEIGHBOUR = range(11)
SESSION, CHILD, RELAY, INSERT, MERGE, FAN, CLIENT = range(11, 18)

# What the thread of an edge with subscribers has done with a poll: encoded it, written it to the clients over WebSocket.
ENCODED, WRITTEN = range(1, 3)

# Intakes of stations: what happens to a poll that is handed to one.
QUEUED, HANDED_OVER, GATHERED, TRANSACTIONAL, COLUMNAR_STORE, SET_APART = range(6)

OF_GATEWAY = -2  # in place of a background job's broker

ACKS_NONE, ACKS_LEADER, ACKS_ALL = range(3)
BUNCH = 2  # in `catch_up` of a request: it is what a follower's fetch brings

# How a frame is over (`over`) without coming to all its hops: UNDER_WAY is not, ENDED goes nowhere any more, GIVEN_UP + c does not go
# to what the group's call c leads to, nor to what later ones do.
UNDER_WAY, ENDED, GIVEN_UP = range(3)


def free_rows(kind: np.dtype[np.void], room: int, first: int = 0) -> Table:
    """Makes rows that are numbered from `first` on and are all free, each listing the one behind it; the last one ends the list."""
    rows = np.zeros(room, kind)
    rows["next"] = np.arange(first + 1, first + room + 1)
    rows["next"][-1] = -1
    return rows


def rows_of(kind: np.dtype[np.void], rows: list[dict[str, float]]) -> Table:
    """Makes a table; what a row does not name is 0."""
    table = np.zeros(len(rows), kind)
    for name in dict.fromkeys(name for row in rows for name in row):
        table[name] = [row.get(name, 0) for row in rows]
    return table
