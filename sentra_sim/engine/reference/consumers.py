"""The consumer group's poll loops."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Generator

import simpy

from sentra_sim.engine.facts import backs_off
from sentra_sim.engine.owners import replica_name
from sentra_sim.engine.plan import GROWING_POLLS, HEARTBEAT, LAG_POLLS
from sentra_sim.engine.reference.calls import Breaker
from sentra_sim.engine.reference.hosts import Draws
from sentra_sim.engine.reference.member import Member
from sentra_sim.engine.reference.membership import Membership
from sentra_sim.engine.reference.station_kinds import make_served
from sentra_sim.engine.reference.waiting import Waiting
from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.engine.trace import DLQ, LOST, OPEN, SHED
from sentra_sim.scenario import ConsumerGroup, Log, only


class ConsumerModel:
    """The consumer group: each consumer polls the partitions that it owns, works, and calls the stations one after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name, self.spec = only(world.scenario, ConsumerGroup)
        self.called = [make_served(world, name, called=True) for name in self.spec.calls]
        self.members = [self._member(number) for number in range(self.spec.most_replicas)]
        partitions = only(world.scenario, Log)[1].partitions
        self.owner = [partition % self.spec.replicas for partition in range(partitions)]  # -1: nobody for now
        self.orphans: deque[Frame] = deque()  # frames of partitions that nobody owns
        self.given_up = DLQ if self.spec.dlq else LOST  # how it ends
        self.membership = Membership(world, self)
        for member in self.members[: self.spec.replicas]:
            member.alive = member.joined = True
            self.begin(member)

    def _member(self, number: int) -> Member:
        world, owner = self.world, replica_name(self.name, number)
        fetch, process, finish, dedupe = (
            world.work(owner, part, getattr(self.spec, part)) for part in ("fetch", "process", "finish", "dedupe")
        )
        thread = world.thread(world.process[self.name], low=self.spec.low_priority, replica=number)
        phase, waiting = world.plan.phase[owner, HEARTBEAT], Waiting(world.scenario)
        member = Member(number, phase, fetch, process, finish, dedupe, thread, waiting)
        if backs_off(world.scenario):
            member.jitter = Draws(world.plan.multipliers[owner, "jitter"])
        return member

    def available(self, request: Batch) -> None:
        """Offers the frames of an acknowledged request to the consumers that own them."""
        for frame in request.frames:
            self.offer(frame)

    def offer(self, frame: Frame) -> None:
        """Offers a frame to the consumer that owns its partition, or keeps it for who will."""
        number = self.owner[frame.partition]
        if number < 0:
            self.orphans.append(frame)
            return
        member = self.members[number]
        member.waiting.add(frame)
        wake, member.wake = member.wake, None
        if wake is not None:
            wake.succeed()

    def begin(self, member: Member) -> None:
        """Begins the poll loop of a consumer's process."""
        member.thread.finished_s = None
        member.gather_s = self.spec.gather_s
        member.breakers = [Breaker(self.spec.breaker) for _ in self.called]
        self.world.env.process(self._while_it_lives(member, member.life, self._poll_loop(member)))

    def _while_it_lives(self, member: Member, life: int, loop: Process) -> Process:
        if member.life != life:
            return
        for event in loop:
            yield event
            if member.life != life:
                return

    def _poll_loop(self, member: Member) -> Process:
        world, spec, thread = self.world, self.spec, member.thread
        while member.alive:
            if spec.max_age_s > 0.0:
                self._shed(member)
            poll = self._take(member)
            if not poll.frames:
                yield from self._wait(member)
                continue
            member.poll = poll
            if spec.adaptive_gather:
                self._adapt(member)
            yield thread.run(member.fetch, len(poll.frames), poll.events)
            refused = self._refused(poll)
            world.stamp(poll.frames, spec.hop)
            if refused.frames:
                busy_s = member.process.amount(len(poll.frames), poll.events)
                busy_s += member.dedupe.amount(len(refused.frames), refused.events)
                yield thread.spend(busy_s, spec.process, poll.events)
            else:
                yield thread.run(member.process, len(poll.frames), poll.events)
            if world.poison.may_be and any(frame.bad for frame in poll.frames):
                if not spec.dlq:
                    yield from self._process_again(member, poll)
                self._put_aside(poll)
            poll.events -= sum(frame.repeats for frame in poll.frames)
            for number in range(len(self.called) if poll.frames else 0):
                yield from self._call(member, number, poll)
                if poll.failed:
                    break
            yield thread.run(member.finish, len(poll.frames), poll.events)
            member.poll = None
            if member.leaving or member.giving_up or member.late:
                self.membership.after_poll(member)

    def _call(self, member: Member, number: int, poll: Batch) -> Generator[simpy.Event, None, None]:
        """Calls a station until the call does not fail or is given up."""
        env, retry, breaker = self.world.env, self.spec.retry, member.breakers[number]
        ceiling_s, wait_s = min(retry.cap_s, retry.base_s), 0.0
        for attempt in itertools.count(1):
            wait_s = max(wait_s, breaker.wait_s(env.now))
            if wait_s > 0.0:
                yield env.timeout(wait_s)
            poll.failed = False
            poll.reply = env.event()
            self.called[number].offer(poll)
            yield poll.reply
            while member.thread.cgroup.holds:  # nobody reads the answer before
                yield member.thread.cgroup.goes_on(env)
            breaker.note(env.now, failed=poll.failed)
            if not poll.failed:
                return
            if attempt == retry.attempts:
                break
            for frame in poll.frames:
                frame.attempts += 1
            assert member.jitter is not None
            wait_s = ceiling_s * member.jitter.next()
            ceiling_s = min(retry.cap_s, ceiling_s * 2.0)
        for frame in poll.frames:
            if frame.outcome == OPEN:
                frame.outcome = self.given_up

    def _process_again(self, member: Member, poll: Batch) -> Generator[simpy.Event, None, None]:
        """Processes a poll with poison events, which cannot pass, until they are given up."""
        retry = self.spec.retry
        ceiling_s = min(retry.cap_s, retry.base_s)
        for _ in itertools.count() if retry.attempts == 0 else range(retry.attempts - 1):
            for frame in poll.frames:
                frame.attempts += 1
            assert member.jitter is not None
            wait_s = ceiling_s * member.jitter.next()
            ceiling_s = min(retry.cap_s, ceiling_s * 2.0)
            if wait_s > 0.0:
                yield self.world.env.timeout(wait_s)
            yield member.thread.run(member.process, len(poll.frames), poll.events)

    def _put_aside(self, poll: Batch) -> None:
        """Parts a poll from its poison events; a frame that brings nothing else ends with them."""
        kept = []
        for frame in poll.frames:
            frame.dead = frame.bad
            if 0 < frame.bad == frame.events - frame.repeats:
                if frame.outcome != SHED:  # by who has it now, as this consumer was late
                    frame.outcome = self.given_up
                poll.events -= frame.events
            else:
                poll.events -= frame.bad
                kept.append(frame)
        poll.frames = kept

    def _shed(self, member: Member) -> None:
        """Drops what has waited for too long, from the first frame of each line on."""
        received = 0
        for line in member.waiting.lines:
            while line and self.world.env.now - line[0].hops_s[received] > self.spec.max_age_s:
                frame = line.popleft()
                # Whoever had it before, and was late, may have given it up since.
                if frame.outcome not in (DLQ, LOST):
                    frame.outcome = SHED
                self.world.lag_events -= frame.events

    def _adapt(self, member: Member) -> None:
        """Notes the lag that a poll has left, as the live worker does: behind the log, waiting for company buys nothing."""
        members = sum(other.joined for other in self.members)
        if self.world.lag_events > LAG_POLLS * self.spec.max_poll_events * members:
            member.gather_s = 0.0
        elif member.gather_s < self.spec.gather_s:
            member.gather_s = min(self.spec.gather_s, member.gather_s + self.spec.gather_s / GROWING_POLLS)

    def _wait(self, member: Member) -> Generator[simpy.Event, None, None]:
        member.wake = wake = self.world.env.event()
        yield wake
        if member.gather_s > 0.0:
            yield self.world.env.timeout(member.gather_s)

    def _take(self, member: Member) -> Batch:
        """Returns the next poll, of at least one frame if one waits; what the log has deleted is dropped on the way."""
        poll, waiting, retention = Batch(), member.waiting, self.world.retention
        while frame := waiting.next():
            if poll.frames and poll.events + frame.events > self.spec.max_poll_events:
                break
            gone = retention is not None and retention.drops(frame)
            waiting.take(served=not gone)
            if not gone:
                frame.poll = self.world.polls
                poll.add(frame)
        self.world.polls += bool(poll.frames)
        self.world.lag_events -= poll.events
        if poll.frames and self.spec.max_poll_interval_s > 0.0:
            self.membership.polled(member)
        return poll

    def _refused(self, poll: Batch) -> Batch:
        """Returns what of a poll has taken effect before, if that is looked at."""
        refused = Batch()
        if self.world.keeps_first and self.spec.idempotent:
            for frame in poll.frames:
                if not math.isnan(frame.hops_s[self.world.effect]):
                    refused.add(frame)
        return refused
