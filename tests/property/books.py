"""The books of a run under way: what was sent is delivered, refused, shed, given up, lost or on its way, and what ended stays so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine import Change, Plan, Rows, Trace, View, start
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import DLQ, DUPLICATE, EVENT_SHED, LOST, NOT_TAKEN, OK, OPEN, SHED
from sentra_sim.kpi import final_hop
from sentra_sim.scenario import Batcher, ConsumerGroup, Source, hop_edges, only

# What became of an offered event, until now.
FATES = ("not due", "in flight", "delivered", "shed", "dlq", "lost", "refused")
NOT_DUE, IN_FLIGHT, DELIVERED, SHED_LATER, DEAD, GONE, REFUSED = range(len(FATES))
ROUNDING_S = 1e-9  # a generator's clock may show a due time in its last bit too late

Ints = NDArray[np.int64]


class Account(NamedTuple):
    """A look into the books: the fate of every offered event, shape (events,), and the hops of every frame until now."""

    fate: Ints
    hops_s: NDArray[np.float64]


def account(plan: Plan, view: View) -> Account:
    """Draws up the account of a run under way.

    Events are counted where they are told apart (which frame has which), frames where they are moved (how many they carry, how they
    ended): two books, which must agree.

    Raises:
        AssertionError: they do not.
    """
    rows, frame = view.rows(np.arange(view.frames)), view.frame_of(np.arange(len(plan.partition)))
    closed = np.isfinite(rows.hops_s[:, _column(plan, only(plan.scenario, Batcher)[1].hops[1])])
    carried = np.bincount(frame[frame >= 0], minlength=view.frames)
    np.testing.assert_array_equal(rows.events, np.where(closed, carried, 0), err_msg="events by frame")

    fate = _fates(plan, frame, _ends(plan, rows))
    due = plan.offered.send_s[plan.offered.message] <= view.now_s + ROUNDING_S
    assert due[frame != NOT_TAKEN].all(), "an event was received before it was sent"
    fate[~due] = NOT_DUE

    ended = np.bincount(_ends(plan, rows), weights=rows.events, minlength=len(FATES)).astype(np.int64)
    waiting = int(
        (due & (frame == NOT_TAKEN)).sum() + carried[~closed].sum()
    )  # before the batcher, or in an open frame
    refused = int((frame == EVENT_SHED).sum())
    assert int(due.sum()) == ended.sum() + waiting + refused, "sent = delivered + shed + dlq + lost + in flight"
    return Account(fate, rows.hops_s)


def final_account(plan: Plan, trace: Trace) -> Account:
    """Draws up the account of a whole run."""
    rows = Rows(trace.partition, trace.events, trace.hops_s, trace.outcome)
    return Account(_fates(plan, trace.frame, _ends(plan, rows)), trace.hops_s)


def assert_follows(plan: Plan, before: Account, after: Account) -> None:
    """Asserts that nothing that was is undone: ends are final, hops keep their times.

    Who was refused may try again; what was delivered may be brought again and then be shed or given up by the consumers. It is
    lost only where consumers drop what they cannot process and nothing comes after them.
    """
    retried = only(plan.scenario, Source)[1].retry is not None
    final = np.isin(before.fate, (SHED_LATER, DEAD, GONE) if retried else (SHED_LATER, DEAD, GONE, REFUSED))
    np.testing.assert_array_equal(after.fate[final], before.fate[final], err_msg="what ended stays as it ended")
    again = after.fate[before.fate == DELIVERED]
    group = only(plan.scenario, ConsumerGroup)[1]
    dropped = (GONE,) if group.poison_share is not None and not group.dlq else ()
    kept = np.isin(again, (DELIVERED, SHED_LATER, DEAD, *dropped)).all()
    assert kept, "what was delivered is not lost, nor on its way again"
    reached = np.isfinite(before.hops_s)
    known = after.hops_s[: len(before.hops_s)]
    np.testing.assert_array_equal(known[reached], before.hops_s[reached], err_msg="what happened keeps its time")


def _fates(plan: Plan, frame: Ints, ends: Ints) -> Ints:
    """Returns the fate of every event, from its frame's end; what no frame has is on its way, or was refused."""
    fate = np.append(ends, [REFUSED, IN_FLIGHT])[frame]  # frames EVENT_SHED and NOT_TAKEN
    assert len(fate) == len(plan.partition)
    return fate


def _ends(plan: Plan, rows: Rows) -> Ints:
    """Returns how every frame has ended, shape (frames,); a duplicate effect counts as delivered when it comes to the last hop."""
    through = np.isfinite(rows.hops_s[:, _column(plan, final_hop(plan.scenario))])
    delivered = through & np.isin(rows.outcome, (OPEN, OK, DUPLICATE))
    ends = np.where(delivered, DELIVERED, IN_FLIGHT)
    for outcome, fate in ((SHED, SHED_LATER), (DLQ, DEAD), (LOST, GONE)):
        ends[rows.outcome == outcome] = fate
    return ends


def _column(plan: Plan, hop: str) -> int:
    return [edge.hop for edge in hop_edges(plan.scenario)].index(hop)


def play_with_looks(plan: Plan, engine: Engine, changes: tuple[Change, ...], *, every_s: float) -> Trace:
    """Plays a plan with a timetable of changes, and looks at its books on the way and at the end."""
    simulation = start(plan, engine=engine)
    before = None
    for at_s in np.arange(0.0, plan.seconds, every_s):
        for change in changes:
            if at_s - every_s < change.at_s <= at_s:
                simulation.advance(change.at_s)
                simulation.apply(change)
        simulation.advance(at_s)
        found = account(plan, simulation.view())
        if before is not None:
            assert_follows(plan, before, found)
        before = found
    trace = simulation.trace()
    assert before is not None
    assert_follows(plan, before, final_account(plan, trace))
    return trace
