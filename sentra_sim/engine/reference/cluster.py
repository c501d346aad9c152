"""The brokers as the controller sees them: who is up, who is reached, who is fenced."""

from __future__ import annotations

from sentra_sim.engine.changes import Operation
from sentra_sim.engine.reference.broker import Broker
from sentra_sim.engine.reference.hosts import Cgroup
from sentra_sim.engine.reference.leadership import Leadership
from sentra_sim.engine.reference.pulls import ReplicaFetches
from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario import Log


class Cluster:
    """The controller's view, and what happens to brokers."""

    def __init__(
        self,
        world: World,
        spec: Log,
        brokers: list[Broker],
        leaderships: list[Leadership],
        replica_fetches: ReplicaFetches | None,
    ) -> None:
        self.world, self.spec, self.brokers = world, spec, brokers
        self.leaderships, self.replica_fetches = leaderships, replica_fetches
        count = spec.brokers
        self.fenced: set[int] = set()
        self.killed: set[int] = set()
        self.ready: set[int] = set()  # started again, and not registered while the session from before lasts
        self.session = [0] * count  # counts what ends a session, so that an old timer finds another number
        self.start_number = [0] * count
        self.controller = spec.controller - 1
        if spec.replica_lag_s > 0.0:
            world.env.process(self._watch_lag())

    def apply(self, operation: Operation, number: int, value: float) -> None:
        """Does to a broker what a change says; what is so already stays so."""
        broker = self.brokers[number]
        match operation:
            case "kill":
                self._kill(number)
            case "pause":
                if broker.up:
                    self._cgroup(number).stop()
                    self._fail(number)
            case "partition":
                self._cut_off(number)
            case "start":
                self._start(number)
            case "resume":
                self._cgroup(number).proceed()
                if not broker.up and number not in self.killed:
                    self._register(number)
            case "slow":
                broker.latency_s = value
            case "heal":
                broker.latency_s = 0.0
                if broker.up and not broker.talking:
                    self._register(number)

    def _cgroup(self, number: int) -> Cgroup:
        return self.world.cgroups[self.world.first_cgroup[self.brokers[number].process]]

    def _kill(self, number: int) -> None:
        self.killed.add(number)
        self.ready.discard(number)
        self.start_number[number] += 1
        self._cgroup(number).renew()
        self._fail(number)

    def _fail(self, number: int) -> None:
        broker = self.brokers[number]
        if not broker.up:
            return
        talked = broker.talking
        broker.up = broker.talking = False
        self.world.down.add(broker.process)
        broker.stop()
        if self.replica_fetches is not None:
            self.replica_fetches.cut(number)
        for leadership in self._of(number):
            leadership.lose(number, serves=False)
        if talked:
            self._miss_heartbeats(number)

    def _cut_off(self, number: int) -> None:
        if not self.brokers[number].talking:
            return
        self.brokers[number].talking = False
        if self.replica_fetches is not None:
            self.replica_fetches.cut(number)
        for leadership in self._of(number):
            leadership.lose(number, serves=True)
        self._miss_heartbeats(number)

    def _miss_heartbeats(self, number: int) -> None:
        """Fences a broker when its session ends; a new controller gives every broker a new session."""
        if number != self.controller:
            self._await_end(number, self.spec.session_timeout_s)
            return
        count = self.spec.brokers
        voters = [(number + step) % count for step in range(1, count)]
        self.controller = next((voter for voter in voters if self.brokers[voter].talking), number)
        for other in range(count):
            if not self.brokers[other].talking and other not in self.fenced:
                self._await_end(other, self.spec.controller_election_s + self.spec.session_timeout_s)

    def _await_end(self, number: int, wait_s: float) -> None:
        self.session[number] += 1
        self.world.after(wait_s, self._end_session, number, self.session[number])

    def _end_session(self, number: int, session: int) -> None:
        if session != self.session[number]:
            return
        self.fenced.add(number)
        for leadership in self._of(number):
            leadership.fence(number)
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
        broker = self.brokers[number]
        broker.up = broker.talking = True
        for states in (self.fenced, self.killed, self.ready):
            states.discard(number)
        self.world.down.discard(broker.process)
        self.session[number] += 1
        if self.replica_fetches is not None:
            self.replica_fetches.begin(number)
        for leadership in self._of(number):
            leadership.rejoin(number)

    def _of(self, number: int) -> list[Leadership]:
        """Returns those of the shards that a broker is a replica of."""
        return [leadership for leadership in self.leaderships if number in leadership.shard.replicas]

    def _watch_lag(self) -> Process:
        while True:
            yield self.world.env.timeout(self.spec.replica_lag_s / 2.0)
            for leadership in self.leaderships:
                leadership.followers.check_lag()
