"""Heaps of entries ordered by (time, sequence): four children each, as a level less is worth more than a comparison."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sentra_sim.engine.compiled.memory import Row, entry_at, inline, plain


def _generate_copy(typing_context: Any, source: Any, target: Any) -> Any:
    """Copies a record as one vector: field by field the compiler must not, as the two might overlap."""
    del typing_context, target

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del signature
        vector = ir.VectorType(ir.IntType(64), source.size // 8).as_pointer()
        copy = builder.load(builder.bitcast(args[0], vector))
        copy.align = 8
        builder.store(copy, builder.bitcast(args[1], vector), align=8)
        return context.get_dummy_value()

    return types.void(source, source), generate


copy_entry: Any = intrinsic(_generate_copy)


@inline
def before(one: Row, other: Row) -> bool:
    """Tells whether an entry comes before another."""
    return one.time < other.time or (one.time == other.time and one.seq < other.seq)  # type: ignore[no-any-return]


@plain
def heap_insert(heap: int, size: int, time: float, seq: int) -> Row:
    """Makes room in a heap for an entry of a time and a sequence, and returns the row to fill."""
    at = size
    while at > 0:
        parent = entry_at(heap, (at - 1) >> 2)
        if time > parent.time or (time == parent.time and seq > parent.seq):
            break
        copy_entry(parent, entry_at(heap, at))
        at = (at - 1) >> 2
    return entry_at(heap, at)


@plain
def heap_remove_first(heap: int, size: int) -> None:
    """Removes the first entry of a heap that has `size` entries without it: the last one takes its place and sinks."""
    last = entry_at(heap, size)
    at = 0
    while 4 * at + 1 < size:
        child = 4 * at + 1
        for other in range(child + 1, min(child + 4, size)):
            if before(entry_at(heap, other), entry_at(heap, child)):
                child = other
        if before(last, entry_at(heap, child)):
            break
        copy_entry(entry_at(heap, child), entry_at(heap, at))
        at = child
    copy_entry(last, entry_at(heap, at))
