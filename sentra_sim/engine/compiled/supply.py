"""What the compiled engine asks Python for while it plays: more random numbers, more of the load, more room."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.compiled.apart import play_apart
from sentra_sim.engine.compiled.layout import (
    CALENDAR,
    EVENT,
    FRAME,
    FRAMES,
    LISTED,
    LOAD,
    MARK,
    NODE,
    NODES,
    POLL,
    POLLS,
    RELEASE_JOBS,
    REQUEST,
    REQUESTS,
    SEGMENT,
    SEGMENTS,
    SPLIT,
    TAKEN,
    free_rows,
)
from sentra_sim.engine.compiled.poison_tables import SPOILT
from sentra_sim.engine.compiled.recycle import advance_events, advance_frames, advance_polls, advance_requests
from sentra_sim.engine.compiled.referred import first_to_keep
from sentra_sim.engine.compiled.sinks import Sink
from sentra_sim.engine.compiled.tables import Tables
from sentra_sim.engine.compiled.windows import Window
from sentra_sim.engine.plan import Plan

FIRST_ROWS = 32  # small, so that short runs are cheap and every test sees rows being used again
LONG_EVENTS = 100_000  # a run that keeps so many has tables of an ample size from the start

_Callback = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Supply:
    """Answers `memory.more`. An error on the way ends the playing; `check` then raises it."""

    def __init__(self, plan: Plan, tables: Tables, sink: Sink | None) -> None:
        self._plan, self._tables, self._sink = plan, tables, sink
        self._state, self._arrays = tables.state, tables.arrays
        self._error: BaseException | None = None
        self._numbers: dict[int, Iterator[NDArray[np.float64]]] = {}
        self._held: dict[int, NDArray[np.float64]] = {}  # the block that compiled code reads, kept alive
        self._pieces = plan.pieces()
        self._is_long = sink is None and plan.kept and len(plan.partition) >= LONG_EVENTS
        self._looked: int | None = None  # frames before this one were over at the last look
        of_frames: dict[str, Any] = {"frame_table": (FRAME, 1), "hops": (np.float64, self._value("hop_count"))}
        of_polls: dict[str, Any] = {"poll_table": (POLL, 1)}
        if self._value("tracked"):
            of_frames |= {"frame_copies": (np.int64, 1), "frame_repeats": (np.int64, 1)}
            of_frames |= {"acked_frames": (np.int64, 1)}  # whose acknowledgement is held: from row 0 on, at most all
        if self._value("poisonous"):
            of_frames |= {"frame_poison": (SPOILT, 1)}
        if self._value("by_key"):
            of_frames |= {"marks": (MARK, 1)}
            of_polls |= {"splits": (SPLIT, 1)}
        self.frames = self._window("frame_end", of_frames)
        self.events = self._window(
            "event_end", {"event_partition": (np.int16, 1), "event_frame": (np.int64, 1), "intended": (np.float64, 1)}
        )
        self.messages = self._window("message_end", {"due": (np.float64, 1), "first_event": (np.int64, 1)})
        self._arrays["first_event"][0] = 0  # where the events of no message end
        self._polls = self._window("poll_end", of_polls)
        self._taken = self._window("taken_end", {"poll_frames": (np.int64, 1)})
        self._requests = self._window("request_end", {"request_table": (REQUEST, 1)})
        self._listed = self._window("listed_end", {"request_frames": (np.int64, 1)})
        self._answers = {
            int(FRAMES): self._more_frames,
            int(POLLS): self._more_polls,
            int(TAKEN): self._more_taken,
            int(REQUESTS): self._more_requests,
            int(LISTED): self._more_listed,
            int(LOAD): self._more_load,
            int(CALENDAR): self._more_calendar,
            int(NODES): self._more_nodes,
            int(RELEASE_JOBS): self._more_release_jobs,
            int(SEGMENTS): self._more_segments,
        }
        # Through a weak reference: a cycle would keep the tables of a run that is over until the next garbage collection.
        this = weakref.ref(self)
        self._callback = _Callback(lambda what: _answer(this, what))
        self._state["supply"] = ctypes.cast(self._callback, ctypes.c_void_p).value

    def check(self) -> None:
        """Raises what went wrong on the way, if anything did."""
        if self._error is not None:
            raise self._error

    def draw_all(self) -> None:
        """Draws what of the load nobody has asked for: events that the generator had no time to send."""
        before = -1
        while self._value("message_count") > before:
            before = self._value("message_count")
            self._more_load()

    def close(self, sink: Sink) -> None:
        """Gives the sink all that is left at the end of a run."""
        for piece in self._pieces:
            sink.offer(piece.intended_s)
        self.hand_out()
        sink.take(self._state, self._value("frame_kept"), self._value("frames"))
        sink.refused(self._state)

    def hand_out(self) -> None:
        """Gives the frames that are over to the sink, in order of opening."""
        if self._sink is None:
            return
        kept = self._value("frame_kept")
        end = advance_frames(self._state) if self._looked is None else self._looked
        if end > kept:
            self._sink.take(self._state, kept, end)
            self._state["frame_kept"] = end
            advance_events(self._state)

    def look(self) -> None:
        """Keeps what is over now, or from now on, until it has been seen: the next look is the last that finds it."""
        if self._sink is not None:
            self._looked = advance_frames(self._state)

    def answer(self, what: int) -> None:
        """Provides what compiled code asks for, whatever happens: it cannot go on without."""
        for _ in range(2):
            try:
                self._provide(what)
            except BaseException as error:  # an interrupt by the user too: raised again by `check`
                self._error = error
                self._state["failed"] = 1
            else:
                return
        print(f"sentra: the compiled engine cannot go on, {self._error!r}", file=sys.stderr, flush=True)
        os._exit(1)  # going back would write beyond a table's end

    def _provide(self, what: int) -> None:
        if what in (FRAMES, POLLS, TAKEN):
            play_apart(self._state)  # what is over, so that its rows may be used again, is told by its hops
        if what < 0:
            self._answers[what]()
            return
        feed = self._tables.feeds[what]
        if what not in self._numbers:
            self._numbers[what] = feed.numbers.blocks()
        block = next(self._numbers[what])
        self._held[what] = block
        row = self._arrays[feed.table][feed.row : feed.row + 1]
        row["numbers"], row["draw_count"], row["drawn"] = block.ctypes.data, len(block), 0

    def _window(self, end: str, tables: dict[str, Any]) -> Window:
        return Window(self._state, self._arrays, end, tables, FIRST_ROWS, ample=self._is_long)

    def _value(self, name: str) -> int:
        return int(self._state[name][0])

    def _more_frames(self) -> None:
        self.hand_out()
        self.frames.make_room(self._value("frame_kept"), self._value("frames"))

    def _more_polls(self) -> None:
        advance_polls(self._state)
        self._polls.make_room(self._value("poll_kept"), self._value("polls"))

    def _more_taken(self) -> None:
        kept = advance_polls(self._state)
        first = int(self._polls.column("poll_table", kept, kept + 1)["first"][0])
        self._taken.make_room(first, self._value("taken"))

    def _more_requests(self) -> None:
        self._requests.make_room(self._advance_requests(), self._value("requests"))

    def _more_listed(self) -> None:
        kept = self._advance_requests()
        rows = self._requests.column("request_table", kept, self._value("requests"))
        first = int(rows["first"].min())  # not that of the first one: a request sent again lists what it did before
        self._listed.make_room(first, self._value("listed"))

    def _advance_requests(self) -> int:
        """Gives up the first requests that are over. Returns the first that is kept."""
        kept, end = advance_requests(self._state), self._value("requests")
        # Not more often than the table grows half full, as this looks everywhere.
        many = 2 * (end - kept) > self._requests.rows
        if many and self._value("recycles") and not self._value("pulling"):
            rows = self._requests.column("request_table", kept, end)
            kept = first_to_keep(self._state, self._arrays, rows, kept)
            self._state["request_kept"] = kept
        return int(kept)

    def _more_load(self) -> None:
        piece = next(self._pieces, None)
        if piece is None or not len(piece.send_s):
            return
        if self._sink is not None:
            self._sink.offer(piece.intended_s)
        messages, events = self._value("message_count"), self._value("event_count")
        if self._plan.kept:
            taken = np.full(len(piece.partition), -1, dtype=np.int64)
            self.events.adopt({"event_partition": piece.partition, "event_frame": taken, "intended": piece.intended_s})
            self.messages.adopt({"due": piece.send_s, "first_event": piece.first_event})
        else:
            self.hand_out()
            kept = self._value("event_kept")
            first = self.messages.column("first_event", self.messages.first, messages + 1)
            needed = self.messages.first + int(np.searchsorted(first, kept, side="right")) - 1 if messages else 0
            self.events.make_room(kept, events, len(piece.partition))
            self.messages.make_room(needed, messages + min(messages, 1), len(piece.send_s) + 1)
            end = events + len(piece.partition)
            self.events.column("event_partition", events, end)[:] = piece.partition
            self.events.column("event_frame", events, end)[:] = -1
            self.events.column("intended", events, end)[:] = piece.intended_s
            last = messages + len(piece.send_s)
            self.messages.column("due", messages, last)[:] = piece.send_s
            self.messages.column("first_event", messages, last + 1)[:] = piece.first_event + events
        self._state["message_count"] = messages + len(piece.send_s)
        self._state["event_count"] = events + len(piece.partition)

    def _more_calendar(self) -> None:
        room, head = self._value("room"), self._value("ring_head")
        heap, ring = np.empty(2 * room, EVENT), np.empty(2 * room, EVENT)
        heap[:room] = self._arrays["heap"]
        ring[:room] = np.roll(self._arrays["ring"], -head)
        self._replace("heap", heap)
        self._replace("ring", ring)
        self._state["room"], self._state["ring_head"] = 2 * room, 0

    def _more_nodes(self) -> None:
        self._state["free_node"] = self._add_free("nodes", NODE)

    def _more_segments(self) -> None:
        self._state["free_segment"] = self._add_free("segments", SEGMENT)

    def _add_free(self, name: str, kind: np.dtype[np.void]) -> int:
        """Makes a table of which no row is free twice as long. Returns the first free row."""
        old = self._arrays[name]
        self._replace(name, np.concatenate([old, free_rows(kind, len(old), len(old))]))
        return len(old)

    def _more_release_jobs(self) -> None:
        old = self._arrays["release_jobs"]
        self._replace("release_jobs", np.concatenate([old, np.empty_like(old)]))
        self._state["release_job_room"] = 2 * len(old)

    def _replace(self, name: str, array: NDArray[np.void]) -> None:
        self._arrays[name] = array
        self._state[name] = array.ctypes.data


def _answer(supply: weakref.ref[Supply], what: int) -> None:
    asked = supply()
    assert asked is not None, "compiled code runs only while its supply lives"
    asked.answer(what)
