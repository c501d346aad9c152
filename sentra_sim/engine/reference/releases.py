"""A pool with releases: stable and the canary, which works on the keys below its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentra_sim.engine.owners import release_name
from sentra_sim.engine.reference.hosts import Draws
from sentra_sim.engine.reference.served import ServedModel
from sentra_sim.engine.reference.stores import Successor
from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.engine.trace import STABLE
from sentra_sim.scenario import Pool
from sentra_sim.scenario.keys import PLACES
from sentra_sim.scenario.schema import Release


class Candidate:
    """One release with its state, which begins when it first gets weight."""

    def __init__(self, world: World, owner: str, number: int, spec: Release) -> None:
        draws = {
            purpose: Draws(world.plan.multipliers[owner, purpose]) for purpose in ("demand", "tail", "error", "shadow")
        }
        self.noise, self.tail, self.error, self.shadow = draws.values()
        self.number, self.spec = number, spec
        self.threshold = 0
        self.begun_s: float | None = None
        self.worked_events = 0

    def begin(self, now_s: float) -> None:
        """Begins anew, its cache cold."""
        self.begun_s, self.worked_events = now_s, 0

    def slowdown(self, events: int, now_s: float) -> float:
        """Returns by which factor a job costs more than stable's."""
        spec, factor = self.spec, self.spec.factor
        assert self.begun_s is not None
        if spec.tail_share > 0.0 and self.tail.next() < spec.tail_share:
            factor *= spec.tail_factor
        if spec.cold_events > self.worked_events:
            cold = min(spec.cold_events - self.worked_events, events)
            factor *= 1.0 + (spec.cold_factor - 1.0) * cold / events
        if spec.leak_per_s > 0.0:
            factor *= 1.0 + spec.leak_per_s * (now_s - self.begun_s)
        return factor


@dataclass
class Part:
    """The canary's part of a job."""

    candidate: Candidate
    events: int
    failed: bool
    cost_s: float = 0.0
    checked: int = 0
    wrong: int = 0


class ReleasesModel(ServedModel):
    """Works on each poll as one job: on stable's events, then on the canary's."""

    def __init__(self, world: World, name: str, spec: Pool, successors: Sequence[Successor], *, called: bool) -> None:
        super().__init__(world, name, spec, successors, called=called)
        self.pool = spec
        self.stable, self.delay_s = self.work.draws, world.delays(name, "delay", spec.delay)
        self.candidates = {
            release: Candidate(world, release_name(name, release), number + 1, release_spec)
            for number, (release, release_spec) in enumerate(spec.releases.items())
        }
        self.canary: Candidate | None = None
        for release, release_spec in spec.releases.items():
            if release_spec.weight > 0.0:
                self.set_weight(release, release_spec.weight)
        world.releases = self

    def set_weight(self, release: str, weight: float) -> None:
        """Gives a release its share of the keys; the others have none."""
        candidate = self.candidates[release]
        candidate.threshold = round(weight * PLACES)
        if weight > 0.0:
            self.canary = candidate
            if candidate.begun_s is None:
                candidate.begin(self.world.env.now)
        elif self.canary is candidate:
            self.canary = None

    def begin(self, release: str) -> None:
        """Begins a release anew, its cache cold."""
        self.candidates[release].begin(self.world.env.now)

    def _serve(self) -> Process:
        thread = self.thread()
        while True:
            poll = yield self.jobs.get()
            begun_s = self.world.env.now
            part = self._canary_part(poll)
            canary_events = part.events if part is not None else 0
            frames, events = (0, poll.left) if poll.left else (len(poll.frames), poll.events - canary_events)
            noise = self.stable.next()  # drawn for each job, so that a canary does not shift what stable draws
            stable_s = self._cost(frames, events, poll.events) * noise if events else 0.0
            total_s = stable_s + part.cost_s if part is not None else stable_s
            yield thread.spend(total_s, self.spec.demand, poll.left or poll.events)
            self._done(poll, part, begun_s, stable_s, total_s)

    def _cost(self, frames: int, events: int, of_events: int) -> float:
        demand = self.spec.demand
        cost_s = demand.job_s + demand.frame_s * frames * (events / of_events) + demand.event_s * events
        return cost_s * self.work.factor()

    def _canary_part(self, poll: Batch) -> Part | None:
        """Begins the canary's part of a poll, unless it has none."""
        if self.canary is None or poll.left:
            return None
        canary = self.canary
        counts = [self._of_canary(frame, canary.threshold) for frame in poll.frames]
        events = sum(counts)
        if not events:
            return None
        noise = canary.noise.next()
        part = Part(canary, events, failed=canary.spec.errors > 0.0 and canary.error.next() < canary.spec.errors)
        if part.failed:
            return part
        for frame, count in zip(poll.frames, counts, strict=True):
            frame.canary_events = count
        slowdown = canary.slowdown(events, self.world.env.now)
        part.cost_s = self._cost(len(poll.frames), events, poll.events) * noise * slowdown
        canary.worked_events += events
        for _ in range(events):
            sample = canary.shadow.next()
            part.checked += sample < self.pool.shadow_share
            part.wrong += sample < self.pool.shadow_share * canary.spec.wrong
        part.cost_s += self.spec.demand.event_s * part.checked * self.work.factor()
        return part

    def _of_canary(self, frame: Frame, threshold: int) -> int:
        place = self.world.place
        return sum(place[event] < threshold for event in frame.members)

    def _done(self, poll: Batch, part: Part | None, begun_s: float, stable_s: float, total_s: float) -> None:
        now_s = self.world.env.now
        delay_s = self.delay_s()
        if part is None:
            poll.left = 0
            self.world.after(delay_s, self.visible, poll)
            return
        took_s, wait_s = now_s - begun_s, part.candidate.spec.wait_s
        record = self.world.release_jobs.append
        if poll.events > part.events:
            duration_s = took_s * (stable_s / total_s) if total_s > 0.0 else 0.0
            record((STABLE, poll.events - part.events, 0, 0, 0, now_s, stable_s, duration_s))
        duration_s = took_s * (part.cost_s / total_s) + wait_s if total_s > 0.0 else wait_s
        counted = (part.candidate.number, part.events, int(part.failed), part.checked, part.wrong)
        record((*counted, now_s, part.cost_s, duration_s))
        if part.failed:
            poll.left = part.events
            self.world.after(delay_s + wait_s, self.offer, poll)
        else:
            self.world.after(delay_s + wait_s, self.visible, poll)
