"""A store whose polls hold a connection until they have committed: PostgreSQL, or Redis with its one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sentra_sim.engine.owners import blocking_purpose, child_purpose
from sentra_sim.engine.reference.checkpoints import Checkpoints
from sentra_sim.engine.reference.hosts import Draws, Thread, Work
from sentra_sim.engine.reference.relay import RelayModel
from sentra_sim.engine.reference.stores import StoreModel
from sentra_sim.engine.reference.world import Batch


@dataclass(eq=False)
class Transaction:
    """A poll that holds a connection, and in which of the store's lives it got it."""

    poll: Batch
    life: int


@dataclass(eq=False)
class Command:
    """A command that blocks a thread, with what it leaves behind."""

    work: Work
    child: Work
    thread: Thread  # of the child
    every_s: float
    first_s: float
    running: bool = False  # the child


def when_done(event: Any, then: Callable[..., None], *args: Any) -> None:
    """Calls a function when a thread's job is done."""
    event.callbacks.append(lambda _: then(*args))


class TransactionalModel(StoreModel):
    """Connections, then threads, then the log's flush, then the delay. A kill loses what holds a connection."""

    def start(self) -> None:
        """Starts the store's threads."""
        spec, world = self.spec, self.world
        self.idle = deque(self.thread() for _ in range(spec.threads))
        self.waiting: deque[Batch] = deque()  # for a connection
        self.ready: deque[Transaction] = deque()  # for a thread
        self.committing: list[Transaction] = []  # for the next flush
        self.due: deque[Command] = deque()
        self.in_use = 0
        self.life, self.up, self.starting = 0, True, False
        self.drains = False
        self.flushing, self.page_writes_s = False, 0.0
        self.commits = self.flushes = self.retried = self.recoveries = 0.0
        self.fsync = Draws(world.plan.multipliers[self.name, "fsync"]) if spec.fsync.mean_s > 0.0 else None
        self.checkpoint = Checkpoints(spec)
        self.relay = RelayModel(world, self.name, spec, spec.relay, self.next) if spec.relay is not None else None
        self.commands = [self._command(number) for number in range(len(spec.blocking))]
        world.stores[self.name] = self

    def _command(self, number: int) -> Command:
        name, spec, world = self.name, self.spec.blocking[number], self.world
        return Command(
            work=world.work(name, blocking_purpose(number), spec.demand),
            child=world.work(name, child_purpose(number), spec.child),
            thread=self.thread(),
            every_s=spec.every_s,
            first_s=spec.every_s * world.plan.phase[name, blocking_purpose(number)],
        )

    def arm(self) -> None:
        """Sets the timers of the commands that block."""
        for command in self.commands:
            self.world.after(command.first_s, self._fall_due, command)

    def offer(self, poll: Batch) -> None:
        """Queues a poll for a connection."""
        self.waiting.append(poll)
        self._admit()

    def _admit(self) -> None:
        """Gives free connections to the polls that wait for one."""
        while self.up and self.waiting and not 0 < self.spec.connections <= self.in_use:
            self.in_use += 1
            self.ready.append(Transaction(self.waiting.popleft(), self.life))
            self._run_next()

    def _run_next(self) -> None:
        """Lets idle threads work: first on commands, then on transactions."""
        while self.idle and (self.due or self.ready):
            thread = self.idle.popleft()
            if self.due:
                when_done(thread.run(self.due[0].work, 0, 0), self._blocked, thread, self.due.popleft())
            else:
                job = self.ready.popleft()
                when_done(thread.run(self.work, len(job.poll.frames), job.poll.events), self._worked, thread, job)

    def _fall_due(self, command: Command) -> None:
        if self.world.env.now >= self.world.plan.seconds:
            return
        self.due.append(command)
        self._run_next()
        self.world.after(command.every_s, self._fall_due, command)

    def _blocked(self, thread: Thread, command: Command) -> None:
        # A child that still runs is not forked again (Redis refuses a second BGSAVE).
        if not command.running:
            command.running = True
            when_done(command.thread.run(command.child, 0, 0), self._child_ended, command)
        self.idle.append(thread)
        self._run_next()

    def _child_ended(self, command: Command) -> None:
        command.running = False

    def _worked(self, thread: Thread, job: Transaction) -> None:
        if job.life == self.life:
            self._commit(job)
        else:
            self._bring_again(job)
        self.idle.append(thread)
        self._run_next()

    def _commit(self, job: Transaction) -> None:
        self.page_writes_s += self.checkpoint.change(job.poll.events, self.world.env.now)
        if self.fsync is None:
            self.after_delay(self._committed, job)
            return
        self.committing.append(job)
        if not self.flushing:
            self._begin_flush()

    def _begin_flush(self) -> None:
        self.flushing = True
        if self.spec.commit_delay_s > 0.0 and self.in_use - 1 >= self.spec.commit_siblings:
            self.world.after(self.spec.commit_delay_s, self._flush, self.life)
        else:
            self._flush(self.life)

    def _flush(self, life: int) -> None:
        if life != self.life:
            return
        assert self.fsync is not None
        group, self.committing = self.committing, []
        busy_s = self.spec.fsync.mean_s * self.fsync.next() * self.checkpoint.slowdown(self.world.env.now)
        busy_s += self.page_writes_s
        self.page_writes_s = 0.0
        self.world.after(busy_s, self._flushed, group)

    def _flushed(self, group: Sequence[Transaction]) -> None:
        if group[0].life != self.life:
            for job in group:
                self._bring_again(job)
            return
        self.flushes += 1.0
        for job in group:
            self.after_delay(self._committed, job)
        if self.committing:
            self._begin_flush()
        else:
            self.flushing = False

    def _committed(self, job: Transaction) -> None:
        if job.life != self.life:
            self._bring_again(job)
            return
        if not self.world.fails(self.name, job.poll):
            self.commits += 1.0
            self._hand_on(job.poll)
        self.in_use -= 1
        self._admit()
        self.reply(job.poll)

    def _hand_on(self, poll: Batch) -> None:
        self.world.stamp(poll.frames, self.spec.hop)
        if self.relay is not None:
            self.relay.put(poll)
            return
        for station in self.next:
            station.offer(poll)

    def _bring_again(self, job: Transaction) -> None:
        """A caller finds its connection broken and brings the poll again, before those that came after it."""
        self.retried += 1.0
        self.waiting.appendleft(job.poll)
        self._admit()

    def change(self, operation: str, value: float) -> None:
        """Stops the store in order, kills it, or starts it again."""
        del value
        if operation == "kill":
            self._kill()
        elif operation == "stop":
            self._stop()
        elif operation == "start":
            self._start_again()

    def _kill(self) -> None:
        """Ends the store's process: what holds a connection is lost, what waits for one waits on."""
        if not self.up and not self.starting and not self.drains:
            return
        self.checkpoint.look(self.world.env.now)
        if self.drains and self.in_use == 0:
            self.checkpoint.begin(self.world.env.now)  # PostgreSQL ends a shutdown in order with one
        self.life += 1
        self.up = self.starting = self.flushing = self.drains = False
        self.in_use, self.page_writes_s = 0, 0.0
        lost = [*self.committing, *self.ready]
        self.retried += float(len(lost))
        self.waiting.extendleft(job.poll for job in reversed(lost))
        self.committing = []
        self.ready.clear()
        if self.relay is not None:
            self.relay.stop()

    def _stop(self) -> None:
        """Gives no more connections: what holds one is brought to its end, what waits for one waits on."""
        if not self.up:
            if self.starting:
                self._kill()
            return
        self.up, self.drains = False, True

    def _start_again(self) -> None:
        """Starts a killed store: it serves when it has redone its log from the last checkpoint."""
        if self.up or self.starting:
            return
        self._kill()  # one that drains still
        assert self.spec.recovery is not None  # held by check_change
        self.starting = True
        redo_s = self.spec.recovery.restart_s + self.spec.recovery.redo_event_s * self.checkpoint.events
        self.world.after(redo_s, self._recovered, self.life)

    def _recovered(self, life: int) -> None:
        if life != self.life:
            return
        self.up, self.starting = True, False
        self.recoveries += 1.0
        self.checkpoint.begin(self.world.env.now)  # PostgreSQL ends a recovery with one
        if self.relay is not None:
            self.relay.resume()
        self._admit()

    def tallies(self) -> dict[str, float]:
        """Returns what the store has counted."""
        return {
            "commits": self.commits,
            "flushes": self.flushes,
            "images": self.checkpoint.images,
            "checkpoints": self.checkpoint.count,
            "retried": self.retried,
            "recoveries": self.recoveries,
            "relayed": self.relay.relayed if self.relay is not None else 0.0,
        }
