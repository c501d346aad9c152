"""A pool with releases in the compiled engine. `reference/releases.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import HANDED, VISIBLE, delay_of, push
from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.hosts import spend
from sentra_sim.engine.compiled.layout import RELEASE_JOBS
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    first_event_at,
    frame_of,
    mark_at,
    more,
    next_event_at,
    place_at,
    plain,
    poll_at,
    poll_frame_at,
    release_at,
    release_job_at,
    split_at,
    spoilt_at,
    station_at,
    thread_at,
    work_at,
)
from sentra_sim.engine.compiled.poison import spoils


@cold
def mark_nothing(sim: Sim, frame: int) -> None:
    """Notes nothing of a new frame yet."""
    if sim.poisonous:
        spoilt_at(sim, frame).bad, spoilt_at(sim, frame).dead = 0, 0
    if sim.by_key:
        mark = mark_at(sim, frame)
        mark.last_event, mark.counted, mark.canary_events = -1, 0, 0


@cold
def note_events(sim: Sim, message: int) -> None:
    """Notes the events of a message with their frames."""
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        note_event(sim, frame_of(sim.event_frame, event).value, event)


@plain
def note_event(sim: Sim, frame: int, event: int) -> None:
    """Notes of an event what its frame tells others: that it is poison or, as then no pool will see it, its key."""
    if sim.poisonous and spoils(sim, event):
        spoilt_at(sim, frame).bad += 1
    elif sim.by_key:
        link_event(sim, frame, event)


@plain
def link_event(sim: Sim, frame: int, event: int) -> None:
    """Lists an event with its frame, before those that came earlier."""
    mark = mark_at(sim, frame)
    next_event_at(sim, event).value = mark.last_event
    mark.last_event = event


@cold
def begin_split(sim: Sim, thread: int) -> None:
    """Begins the job of a poll: stable's events, then the canary's."""
    row = thread_at(sim, thread)
    poll, split, work = poll_at(sim, row.ref), split_at(sim, row.ref), work_at(sim, row.work)
    split.begun, split.canary, split.failed, split.checked, split.wrong, split.cost = sim.now, 0, 0, 0, 0, 0.0
    if sim.canary >= 0 and split.left == 0:
        begin_canary(sim, row.ref, work)
    frames, events = poll.frames, poll.events - split.canary
    if split.left > 0:
        frames, events = 0, split.left
    split.stable = 0.0
    noise = draw(sim, work)
    if events > 0:
        split.stable = cost_of(work, frames, events, poll.events) * noise
    split.total = split.stable + split.cost if split.canary > 0 else split.stable
    spend(sim, thread, row.work, split.total, split.left if split.left > 0 else poll.events)


@plain
def cost_of(work: Row, frames: int, events: int, of_events: int) -> float:
    """Returns what a part of a poll costs, before noise."""
    return (work.job + work.frame * frames * (events / of_events) + work.event * events) * work.factor  # type: ignore[no-any-return]


@cold
def begin_canary(sim: Sim, number: int, work: Row) -> None:
    """Begins the canary's part of a poll, unless it has none."""
    poll, split, release = poll_at(sim, number), split_at(sim, number), release_at(sim, sim.canary)
    events = 0
    for at in range(poll.first, poll.first + poll.frames):
        events += count_canary(sim, poll_frame_at(sim, at).value, release.threshold)
    if events == 0:
        return
    split.canary, split.release = events, sim.canary
    noise = delay_of(sim, release.noise)
    if release.errors > 0.0 and delay_of(sim, release.error_draw) < release.errors:
        split.failed = 1
        return
    for at in range(poll.first, poll.first + poll.frames):
        mark = mark_at(sim, poll_frame_at(sim, at).value)
        mark.canary_events = mark.counted
    split.cost = cost_of(work, poll.frames, events, poll.events) * noise * slowdown(sim, release, events)
    release.worked += events
    for _ in range(events):
        sample = delay_of(sim, release.shadow_draw)
        split.checked += sample < sim.shadow_share
        split.wrong += sample < sim.shadow_share * release.wrong
    split.cost += work.event * split.checked * work.factor


@plain
def count_canary(sim: Sim, frame: int, threshold: int) -> int:
    """Counts a frame's events that are the canary's."""
    mark = mark_at(sim, frame)
    count, event = 0, mark.last_event
    while event >= 0:
        count += place_at(sim, event).value < threshold
        event = next_event_at(sim, event).value
    mark.counted = count
    return count


@cold
def slowdown(sim: Sim, release: Row, events: int) -> float:
    """Returns by which factor a job costs more than stable's."""
    factor = release.factor
    if release.tail_share > 0.0 and delay_of(sim, release.tail_draw) < release.tail_share:
        factor *= release.tail_factor
    if release.cold_events > release.worked:
        cold = min(release.cold_events - release.worked, events)
        factor *= 1.0 + (release.cold_factor - 1.0) * cold / events
    if release.leak > 0.0:
        factor *= 1.0 + release.leak * (sim.now - release.started)
    return factor  # type: ignore[no-any-return]


@cold
def split_done(sim: Sim, thread: int) -> None:
    """Goes on with a poll that stable and the canary have worked on."""
    row = thread_at(sim, thread)
    number, unit, split = row.ref, row.unit, split_at(sim, row.ref)
    delay = delay_of(sim, station_at(sim, unit).delay)
    if split.canary == 0:
        split.left = 0
        push(sim, delay, VISIBLE, unit, number)
        return
    took, share, wait = sim.now - split.begun, 0.0, release_at(sim, split.release).wait
    stable_events = poll_at(sim, number).events - split.canary
    if stable_events > 0:
        if split.total > 0.0:
            share = took * (split.stable / split.total)
        record(sim, 0, stable_events, split.stable, share)
    share = took * (split.cost / split.total) + wait if split.total > 0.0 else wait
    record(sim, split.release + 1, split.canary, split.cost, share)
    job = release_job_at(sim, sim.release_jobs_done - 1)
    job.failed, job.checked, job.wrong = split.failed, split.checked, split.wrong
    if split.failed:
        split.left = split.canary
        push(sim, delay + wait, HANDED, unit, number)
    else:
        push(sim, delay + wait, VISIBLE, unit, number)


@cold
def record(sim: Sim, release: int, events: int, cpu: float, duration: float) -> None:
    """Notes a release's part of a job; a poll that is called again and again may have any number of them."""
    if sim.release_jobs_done == sim.release_job_room:
        more(sim, RELEASE_JOBS)
    job = release_job_at(sim, sim.release_jobs_done)
    sim.release_jobs_done += 1
    job.release, job.events, job.failed, job.checked, job.wrong = release, events, 0, 0, 0
    job.at_s, job.cpu_s, job.duration_s = sim.now, cpu, duration
