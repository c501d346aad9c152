"""Rows of the compiled engine's tables, reached through one record that holds the tables' addresses.

Passing some thirty arrays from function to function would cost more than the simulation itself; a record is one pointer. Rows
are not checked against the length of their table: whoever adds one checks first, and asks Python for `more`, which may move the
table. A row is therefore good until the next one of its kind is added.

Of things that come and go by number (events, frames, requests, polls) a table holds those still needed: its address is where row 0
would lie. Numbers are never used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sentra_sim.engine.compiled import layout as t
from sentra_sim.engine.compiled import poison_tables, tracking
from sentra_sim.engine.trace import RELEASE_JOB

F = TypeVar("F", bound=Callable[..., Any])
Row = Any  # a row of a table, with the fields of its record type
Sim = Any  # the one row of tables.STATE


def plain(function: F) -> F:
    """Compiles a function as a part of the engine's one cached entry."""
    return cast(F, numba.njit(error_model="numpy")(function))


def _generate_row(typing_context: Any, address: Any, number: Any, dtype: Any) -> Any:
    """Returns row `number` of the table of records at `address`; writing to its fields writes to the table."""
    del typing_context
    record = dtype.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.get_value_type(types.voidptr)
        offset = builder.mul(args[1], context.get_constant(types.int64, record.size))
        place = builder.inttoptr(builder.add(args[0], offset), pointer)
        return builder.bitcast(place, context.get_value_type(signature.return_type))

    return record(types.int64, types.int64, dtype), generate


_row: Any = intrinsic(_generate_row)


def cold(function: F) -> F:
    """Compiles a function that runs rarely, not into its callers: one called from an `inline` function would be, by inheritance."""
    return cast(F, numba.njit(forceinline=False, error_model="numpy")(function))


def _generate_call(typing_context: Any, address: Any, what: Any) -> Any:
    """Calls back to Python for more of something."""
    del typing_context, address, what

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del signature
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


_call: Any = intrinsic(_generate_call)


def inline(function: F) -> F:
    """Compiles a function into each of its callers: for those on the way of every job."""
    return cast(F, numba.njit(forceinline=True, error_model="numpy")(function))


def _table(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], numba.njit(forceinline=True, error_model="numpy")(function))


more = _table(lambda sim, what: _call(sim.supply, what))  # see supply.py
entry_at = _table(lambda heap, number: _row(heap, number, t.EVENT))
ring_at = _table(lambda sim, number: _row(sim.ring, number, t.EVENT))
node_at = _table(lambda sim, number: _row(sim.nodes, number, t.NODE))
host_at = _table(lambda sim, number: _row(sim.hosts, number, t.HOST))
lane_at = _table(lambda sim, number: _row(sim.lanes, number, t.LANE))
thread_at = _table(lambda sim, number: _row(sim.threads, number, t.THREAD))
server_at = _table(lambda sim, number: _row(sim.servers, number, t.SERVER))
work_at = _table(lambda sim, number: _row(sim.works, number, t.WORK))
delay_at = _table(lambda sim, number: _row(sim.delays, number, t.DELAY))
number_at = _table(lambda numbers, place: _row(numbers, place, t.NUMBER))
due_at = _table(lambda sim, message: _row(sim.due, message, t.NUMBER))
first_event_at = _table(lambda sim, message: _row(sim.first_event, message, t.INDEX))
partition_at = _table(lambda table, event: _row(table, event, t.SMALL))
frame_of = _table(lambda table, event: _row(table, event, t.INDEX))
open_at = _table(lambda table, partition: _row(table, partition, t.OPEN))
frame_at = _table(lambda sim, number: _row(sim.frame_table, number, t.FRAME))
hop_at = _table(lambda sim, frame, hop: _row(sim.hops, frame * sim.hop_count + hop, t.NUMBER))
request_at = _table(lambda sim, number: _row(sim.request_table, number, t.REQUEST))
request_frame_at = _table(lambda sim, place: _row(sim.request_frames, place, t.INDEX))
poll_at = _table(lambda sim, number: _row(sim.poll_table, number, t.POLL))
poll_frame_at = _table(lambda sim, place: _row(sim.poll_frames, place, t.INDEX))
broker_at = _table(lambda sim, number: _row(sim.brokers, number, t.BROKER))
shard_at = _table(lambda sim, number: _row(sim.shards, number, t.SHARD))
copy_at = _table(lambda sim, shard, step: _row(sim.copies, shard * sim.replication_factor + step, t.COPY))
replica_at = _table(lambda sim, number: _row(sim.replicas, number, t.REPLICA))
call_at = _table(lambda sim, number: _row(sim.calls, number, t.INDEX))
station_at = _table(lambda sim, number: _row(sim.stations, number, t.STATION))
link_at = _table(lambda sim, place: _row(sim.links, place, t.INDEX))
background_at = _table(lambda sim, number: _row(sim.backgrounds, number, t.BACKGROUND))
store_at = _table(lambda sim, number: _row(sim.stores, number, t.STORE))
command_at = _table(lambda sim, number: _row(sim.commands, number, t.COMMAND))
columnar_at = _table(lambda sim, number: _row(sim.columnars, number, t.COLUMNAR))
writer_at = _table(lambda sim, number: _row(sim.writers, number, t.WRITER))
tier_at = _table(lambda sim, number: _row(sim.tiers, number, t.TIER))
edge_at = _table(lambda sim, number: _row(sim.edges, number, t.EDGE))
slow_at = _table(lambda sim, number: _row(sim.slow_classes, number, t.SLOW_CLASS))
message_at = _table(lambda sim, number: _row(sim.messages, number, tracking.MESSAGE))
event_copy_at = _table(lambda sim, number: _row(sim.event_copies, number, tracking.COPY))
copies_of = _table(lambda sim, frame: _row(sim.frame_copies, frame, t.INDEX))
repeats_of = _table(lambda sim, frame: _row(sim.frame_repeats, frame, t.INDEX))
event_key_at = _table(lambda sim, event: _row(sim.event_key, event, t.INDEX))
event_message_at = _table(lambda sim, event: _row(sim.event_message, event, t.INDEX))
unheard_at = _table(lambda sim, event: _row(sim.event_unheard, event, t.INDEX))
tenant_at = _table(lambda sim, number: _row(sim.tenants, number, tracking.TENANT))
bucket_at = _table(lambda sim, number: _row(sim.buckets, number, tracking.BUCKET))
cpu_at = _table(lambda sim, process, second: _row(sim.cpu, process * sim.second_count + second, t.NUMBER))
virtual_at = _table(lambda sim, lane, second: _row(sim.virtual, lane * sim.second_count + second, t.NUMBER))
mark_at = _table(lambda sim, frame: _row(sim.marks, frame, t.MARK))
next_event_at = _table(lambda sim, event: _row(sim.next_event, event, t.INDEX))
place_at = _table(lambda sim, event: _row(sim.place, event, t.INDEX))
split_at = _table(lambda sim, poll: _row(sim.splits, poll, t.SPLIT))
release_at = _table(lambda sim, number: _row(sim.releases, number, t.RELEASE))
release_job_at = _table(lambda sim, number: _row(sim.release_jobs, number, RELEASE_JOB))
owner_at = _table(lambda sim, partition: _row(sim.owners, partition, t.OWNER))
breaker_at = _table(lambda sim, number: _row(sim.breakers, number, t.BREAKER))
cgroup_at = _table(lambda sim, number: _row(sim.cgroups, number, t.CGROUP))
pressure_of = _table(lambda sim: _row(sim.pressures, 0, tracking.PRESSURE))
acked_frame_at = _table(lambda sim, place: _row(sim.acked_frames, place, t.INDEX))
event_poison_at = _table(lambda sim, event: _row(sim.event_poison, event, t.NUMBER))
spoilt_at = _table(lambda sim, frame: _row(sim.frame_poison, frame, poison_tables.SPOILT))
vacation_at = _table(lambda sim, number: _row(sim.vacations, number, t.VACATION))
hop_call_at = _table(lambda sim, hop: _row(sim.hop_calls, hop, t.INDEX))
size_class_at = _table(lambda sim, number: _row(sim.size_classes_table, number, t.SIZE_CLASS))
part_at = _table(lambda sim, partition: _row(sim.parts, partition, t.PART))
segment_at = _table(lambda sim, number: _row(sim.segments, number, t.SEGMENT))
apart_at = _table(lambda sim, number: _row(sim.apart, number, t.APART))
core_at = _table(lambda sim, number: _row(sim.cores, number, t.CORE))
fetch_at = _table(lambda sim, number: _row(sim.fetches, number, t.FETCH))
line_at = _table(lambda sim, replica, number: _row(sim.lines, replica * sim.line_count + number, t.LINE))
