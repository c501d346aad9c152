"""Who is in the consumer group and who owns which partition: consumers that join, leave and die, and the rebalances that follow."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sentra_sim.engine.reference.member import Group, Member
from sentra_sim.engine.reference.sticky import spread_evenly
from sentra_sim.engine.reference.world import Batch, World


class Membership:
    """The group's coordinator and the consumers' side of its protocol."""

    def __init__(self, world: World, group: Group) -> None:
        self.world, self.group, self.spec = world, group, group.spec
        self.members = group.members
        partitions = len(group.owner)
        self.target = list(group.owner)
        self.mark = [0] * partitions  # of the round of giving up in which a partition became free
        self.marks = 0
        self.preparing = False

    def start(self, number: int) -> None:
        """Starts a consumer; it joins when its process is ready."""
        member = self.members[number]
        member.leaving = False
        if member.alive or member.starting or member.returning or member.fenced:
            return
        member.life += 1
        member.starting = True
        self.world.after(self.spec.ready_s, self._ready, member, member.life)

    def stop(self, number: int) -> None:
        """Lets a consumer end in order: it finishes its poll and leaves."""
        member = self.members[number]
        if not member.alive:
            self.kill(number)
            return
        member.leaving = True
        if member.poll is None and not member.thread.cgroup.stopped:
            self._leave(member)

    def kill(self, number: int) -> None:
        """Ends a consumer at once; its poll is not committed, and nobody is told."""
        member = self.members[number]
        member.life += 1
        member.starting = member.returning = member.fenced = False
        alive = member.alive
        if alive:
            self._drop(member)
        member.thread.cgroup.proceed()
        if alive and member.joined:
            self._miss(member)

    def pause(self, number: int) -> None:
        """Stops a consumer's process (SIGSTOP): it sends no heartbeats either, so that its session ends if that lasts."""
        member = self.members[number]
        if member.alive and not member.thread.cgroup.stopped:
            member.thread.cgroup.stop()
            if not member.late:
                self._miss(member)

    def resume(self, number: int) -> None:
        """Lets a stopped consumer go on (SIGCONT): with what it was at or, if its session is over, by joining again."""
        member = self.members[number]
        if not member.thread.cgroup.stopped:
            return
        member.thread.cgroup.proceed()
        if member.fenced:
            member.fenced = False
            self._join(member)
            return
        member.session += not member.late
        if member.poll is None and (member.leaving or member.giving_up):
            self.after_poll(member)
        elif member.overdue:
            self._be_late(member)

    def polled(self, member: Member) -> None:
        """Notes that a consumer polls, and sets the timer that watches over its polls."""
        member.polled_s = self.world.env.now
        if not member.watched:
            member.watched = True
            self.world.after(self.spec.max_poll_interval_s, self._watch, member, member.life)

    def _watch(self, member: Member, life: int) -> None:
        if life != member.life:
            return
        member.watched = False
        if member.poll is None or member.late:
            return
        wait_s = member.polled_s + self.spec.max_poll_interval_s - self.world.env.now
        if wait_s > 0.0:
            member.watched = True
            self.world.after(wait_s, self._watch, member, life)
        elif member.thread.cgroup.stopped:
            member.overdue = True
        else:
            self._be_late(member)

    def _be_late(self, member: Member) -> None:
        """Lets a consumer leave that has not polled for too long; it goes on with its poll, but cannot commit it."""
        member.overdue, member.giving_up, member.late = False, False, True
        self._put_back(member, member.poll)
        if self.spec.rebalance == "static":  # it only sends no more heartbeats
            self._miss(member)
            return
        member.session += 1
        member.joined = False
        self._free(member, range(len(self.target)))
        self._rebalance()

    def _rejoin(self, member: Member) -> None:
        """Lets a consumer that was late join again; a static one still has its partitions if its session is not over."""
        member.late = False
        member.session += 1
        if member.joined:
            self._give_up(member)  # what it has not heard of meanwhile
        else:
            member.joined = True
            self._rebalance(member)

    def _put_back(self, member: Member, poll: Batch | None) -> None:
        """Puts the frames of a poll that is not committed before those that wait."""
        assert poll is not None
        self.world.keeps_first = True
        self.world.lag_events += sum(frame.events for frame in poll.frames)
        for frame in poll.frames:
            frame.attempts += 1
        member.waiting.put_back(poll.frames)

    def _drop(self, member: Member) -> None:
        """Ends a consumer with what it is at; its poll is taken again, as it is not committed."""
        self._end(member)
        member.thread.cancel()
        if member.poll is not None and not member.late:
            self._put_back(member, member.poll)
        member.poll, member.late = None, False

    def scale(self, count: int) -> None:
        """Starts the first consumers that do not run, or stops the last that do, until so many run."""
        running = sum(self._runs(member) for member in self.members)
        for member in self.members:
            if running < count and not self._runs(member):
                self.start(member.number)
                running += 1
        for member in reversed(self.members):
            if running > count and self._runs(member):
                self.stop(member.number)
                running -= 1

    def runs(self, number: int) -> bool:
        """Tells whether a consumer runs or is about to."""
        return self._runs(self.members[number])

    def after_poll(self, member: Member) -> None:
        """Lets a consumer leave or give partitions up, now that its poll is committed."""
        if member.leaving:
            self._leave(member)
        elif member.late:
            self._rejoin(member)
        else:
            self._give_up(member)

    def _runs(self, member: Member) -> bool:
        polls = member.alive and not member.leaving
        return polls or member.starting or member.returning or member.fenced

    def _ready(self, member: Member, life: int) -> None:
        if life != member.life:
            return
        member.starting = False
        if not member.joined:
            self._join(member)
        elif self.spec.rebalance == "static":  # known by its instance id: its partitions are still its own
            member.session += 1
            member.alive = True
            self.world.after(self.spec.join_s, self._resume, member, life)
        else:
            member.returning = True

    def _resume(self, member: Member, life: int) -> None:
        if life == member.life:
            self.group.begin(member)

    def _join(self, member: Member) -> None:
        member.returning, member.alive, member.joined = False, True, True
        self.group.begin(member)
        self._rebalance(member)

    def _end(self, member: Member) -> None:
        member.alive = member.leaving = member.giving_up = member.watched = member.overdue = False
        member.wake = None
        member.waiting.renew()
        member.thread.cgroup.done_s = 0.0

    def _leave(self, member: Member) -> None:
        member.life += 1
        self._end(member)
        late, member.late = member.late, False
        if late and not member.joined:
            return
        if self.spec.rebalance == "static":
            self._miss(member)
            return
        member.joined = False
        self._free(member, range(len(self.target)))
        self._rebalance()

    def _miss(self, member: Member) -> None:
        """Lets a session run out, which was last renewed by a heartbeat."""
        member.session += 1
        since_s = self.spec.heartbeat_s - self._to_heartbeat(member)
        self.world.after(max(0.0, self.spec.session_timeout_s - since_s), self._expire, member, member.session)

    def _expire(self, member: Member, session: int) -> None:
        if session != member.session or not member.joined:
            return
        member.session += 1
        member.joined = False
        if member.alive and not member.late:  # it is stopped
            member.life += 1
            member.fenced = not member.leaving
            self._drop(member)
        self._free(member, range(len(self.target)))
        if member.returning:
            self._join(member)
        else:
            self._rebalance()

    def _to_heartbeat(self, member: Member) -> float:
        """Returns how long it is until a consumer's next heartbeat."""
        period_s = self.spec.heartbeat_s
        return period_s - math.fmod(self.world.env.now + member.phase * period_s, period_s)

    def _rebalance(self, newcomer: Member | None = None) -> None:
        if self.spec.rebalance == "eager":
            self._prepare(newcomer)
            return
        self._assign()
        self._hand_out(partition for partition, owner in enumerate(self.group.owner) if owner < 0)
        for member in self.members:
            own = (partition for partition, owner in enumerate(self.group.owner) if owner == member.number)
            if member.alive and any(self.target[partition] != member.number for partition in own):
                self.world.after(self._to_heartbeat(member), self._hear, member, member.life)

    def _prepare(self, newcomer: Member | None) -> None:
        """Asks all consumers to give everything up and join again; who joins by itself has nothing to give up."""
        if not self.preparing:
            self.preparing = True
            for member in self.members:
                member.heard = False
                if member.alive and member is not newcomer:
                    self.world.after(self._to_heartbeat(member), self._hear, member, member.life)
        if newcomer is not None:
            newcomer.heard = True
        self._mark(partition for partition, owner in enumerate(self.group.owner) if owner < 0)
        self._all_heard()

    def _hear(self, member: Member, life: int) -> None:
        # One that was late meanwhile has given up all and may have joined this round by itself.
        if life != member.life or member.late or (self.spec.rebalance == "eager" and member.heard):
            return
        member.giving_up = True
        if member.poll is None and not member.thread.cgroup.stopped:
            self._give_up(member)

    def _give_up(self, member: Member) -> None:
        member.giving_up = False
        own = [partition for partition, owner in enumerate(self.group.owner) if owner == member.number]
        if self.spec.rebalance == "eager":
            self._free(member, own)
            member.heard = True
            self._all_heard()
        else:
            given = [partition for partition in own if self.target[partition] != member.number]
            self._free(member, given)
            self._hand_out(given)

    def _all_heard(self) -> None:
        """Ends an eager rebalance when the last consumer has joined it."""
        if not self.preparing or any(member.joined and not member.heard for member in self.members):
            return
        self.preparing = False
        self._assign()
        self._mark(partition for partition, owner in enumerate(self.group.owner) if owner < 0)
        self.world.after(self.spec.join_s, self._take_over, None, self.marks)

    def _hand_out(self, free: Iterable[int]) -> None:
        """Lets the new owners of free partitions learn of them at their next heartbeats."""
        free = list(free)
        self._mark(free)
        for number in dict.fromkeys(self.target[partition] for partition in free):
            if number >= 0:
                wait_s = self._to_heartbeat(self.members[number]) + self.spec.join_s
                self.world.after(wait_s, self._take_over, number, self.marks)

    def _mark(self, free: Iterable[int]) -> None:
        self.marks += 1
        for partition in free:
            self.mark[partition] = self.marks

    def _free(self, member: Member, partitions: Iterable[int]) -> None:
        """Takes partitions from a consumer, with the frames of theirs that wait for it."""
        owner = self.group.owner
        for partition in partitions:
            if owner[partition] == member.number:
                owner[partition] = -1
        for frame in member.waiting.leave():
            if owner[frame.partition] < 0:
                self.group.orphans.append(frame)
            else:
                member.waiting.add(frame)

    def _take_over(self, number: int | None, mark: int) -> None:
        owner = self.group.owner
        for partition, target in enumerate(self.target):
            if self.mark[partition] == mark and owner[partition] < 0 and (number is None or target == number):
                owner[partition] = target
        waiting = list(self.group.orphans)
        self.group.orphans.clear()
        for frame in waiting:
            self.group.offer(frame)

    def _assign(self) -> None:
        """Decides who is to own what: all anew by round robin, or moving as few partitions as an even spread needs."""
        members = [member.number for member in self.members if member.joined]
        if not members:
            self.target = [-1] * len(self.target)
        elif self.spec.rebalance == "eager":
            self.target = [members[partition % len(members)] for partition in range(len(self.target))]
        else:
            spread_evenly(self.target, members)
