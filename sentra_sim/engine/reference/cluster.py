"""The brokers as the controller sees them: who is up, who is reached, who is fenced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentra_sim.engine.changes import Operation
from sentra_sim.engine.reference.hosts import Cgroup
from sentra_sim.engine.reference.lag import check_lag
from sentra_sim.engine.reference.world import Process

if TYPE_CHECKING:
    from sentra_sim.engine.reference.log import LogModel


class Cluster:
    """The controller's view, and what happens to brokers."""

    def __init__(self, log: LogModel) -> None:
        self.log, self.world, self.spec = log, log.world, log.spec
        count = self.spec.brokers
        self.up = set(range(count))  # answer clients
        self.talking = set(range(count))  # reach one another and the controller
        self.fenced: set[int] = set()
        self.killed: set[int] = set()
        self.ready: set[int] = set()  # started again, and not registered while the session from before lasts
        self.session = [0] * count  # counts what ends a session, so that an old timer finds another number
        self.start_number = [0] * count
        self.latency_s = [0.0] * count  # on the links to clients and to other brokers
        self.controller = self.spec.controller - 1
        if self.spec.replica_lag_s > 0.0:
            self.world.env.process(self._watch_lag())

    def reach(self, one: int, other: int) -> bool:
        """Tells whether two brokers reach each other."""
        return one in self.talking and other in self.talking

    def apply(self, operation: Operation, number: int, value: float) -> None:
        """Does to a broker what a change says; what is so already stays so."""
        match operation:
            case "kill":
                self._kill(number)
            case "pause":
                if number in self.up:
                    self._cgroup(number).stop()
                    self._fail(number)
            case "partition":
                self._cut_off(number)
            case "start":
                self._start(number)
            case "resume":
                self._cgroup(number).proceed()
                if number not in self.up and number not in self.killed:
                    self._register(number)
            case "slow":
                self.latency_s[number] = value
            case "heal":
                self.latency_s[number] = 0.0
                if number in self.up and number not in self.talking:
                    self._register(number)

    def _process(self, number: int) -> int:
        return self.world.process[f"{self.log.name}-{number + 1}"]

    def _cgroup(self, number: int) -> Cgroup:
        return self.world.cgroups[self.world.first_cgroup[self._process(number)]]

    def _kill(self, number: int) -> None:
        self.killed.add(number)
        self.ready.discard(number)
        self.start_number[number] += 1
        self._cgroup(number).renew()
        self._fail(number)

    def _fail(self, number: int) -> None:
        if number not in self.up:
            return
        talked = number in self.talking
        self.up.discard(number)
        self.talking.discard(number)
        self.world.down.add(self._process(number))
        self.log.brokers[number].stop()
        if self.log.replica_fetches is not None:
            self.log.replica_fetches.cut(number)
        for shard in self.log.shards:
            if number in shard.replicas:
                shard.lose(number, serves=False)
        if talked:
            self._miss_heartbeats(number)

    def _cut_off(self, number: int) -> None:
        if number not in self.talking:
            return
        self.talking.discard(number)
        if self.log.replica_fetches is not None:
            self.log.replica_fetches.cut(number)
        for shard in self.log.shards:
            if number in shard.replicas:
                shard.lose(number, serves=True)
        self._miss_heartbeats(number)

    def _miss_heartbeats(self, number: int) -> None:
        """Fences a broker when its session ends; a new controller gives every broker a new session."""
        if number != self.controller:
            self._await_end(number, self.spec.session_timeout_s)
            return
        count = self.spec.brokers
        voters = [(number + step) % count for step in range(1, count)]
        self.controller = next((voter for voter in voters if voter in self.talking), number)
        for other in range(count):
            if other not in self.talking and other not in self.fenced:
                self._await_end(other, self.spec.controller_election_s + self.spec.session_timeout_s)

    def _await_end(self, number: int, wait_s: float) -> None:
        self.session[number] += 1
        self.world.after(wait_s, self._end_session, number, self.session[number])

    def _end_session(self, number: int, session: int) -> None:
        if session != self.session[number]:
            return
        self.fenced.add(number)
        for shard in self.log.shards:
            if number in shard.replicas:
                shard.fence(number)
        if number in self.ready:
            self._register(number)

    def _start(self, number: int) -> None:
        if number in self.killed and number not in self.ready:
            self.start_number[number] += 1
            self.world.after(self.spec.restart_s, self._started, number, self.start_number[number])

    def _started(self, number: int, start_number: int) -> None:
        if start_number != self.start_number[number]:
            return
        self.ready.add(number)
        if number in self.fenced:
            self._register(number)

    def _register(self, number: int) -> None:
        self.up.add(number)
        self.talking.add(number)
        for states in (self.fenced, self.killed, self.ready):
            states.discard(number)
        self.world.down.discard(self._process(number))
        self.session[number] += 1
        if self.log.replica_fetches is not None:
            self.log.replica_fetches.begin(number)
        for shard in self.log.shards:
            if number in shard.replicas:
                shard.rejoin(number)

    def _watch_lag(self) -> Process:
        while True:
            yield self.world.env.timeout(self.spec.replica_lag_s / 2.0)
            for shard in self.log.shards:
                check_lag(shard)
