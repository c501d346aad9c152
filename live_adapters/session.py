"""A session: the processes of one run from their start to their orderly end, and what may be done to them meanwhile."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import psutil

from live_adapters import stack
from live_adapters.load import NAME as GENERATOR
from live_adapters.load import SUMMARY_FILE, LoadSummary
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.scaling import WORKER, set_workers, station_of, worker_modules, workers_of
from live_adapters.pipeline.supervisor import Supervisor
from live_adapters.pipeline.telemetry.names import OBSERVER
from live_adapters.watch import Progress, Watch
from sentra_sim.control.plant import Slow
from sentra_sim.errors import InputError, PlantError
from sentra_sim.scenario import ConsumerGroup, only
from sentra_sim.units import NS_PER_S

STILL_S = 10.0  # when nothing has arrived for so long, nothing more will come
DRAIN_S = 90.0  # the longest that an overloaded run is waited for
END_S = 60.0  # that the generator may end late: it waits for the acknowledgement of everything it sent
LOOK_S = 0.1

BACK = {
    "pricing": "live_adapters.pipeline.pricing",
    "fanout": "live_adapters.pipeline.fanout",
}
FRONT = {
    "subscriber": "live_adapters.pipeline.subscriber",
    "gateway": "live_adapters.pipeline.gateway",
}
WATCHING = {OBSERVER: "live_adapters.pipeline.telemetry.observer"}
AUDITOR = {"auditor": "live_adapters.verify.auditor"}  # only where the run is audited
STOP_ORDER = ("gateway", WORKER, "pricing", "auditor", "fanout", "subscriber", OBSERVER)

Report = Callable[[Progress], None]


class Session:
    """The pipeline's processes on a running stack. Use as a context manager: leaving it leaves no process of the pipeline.

    Within it `start_load`, `watch_load`, `drain` and `stop` follow one another. Between them any process, of the pipeline
    or of the stack, can be killed, paused, restarted.

    Args:
        config: The run.
        endpoints: The stack that it runs on.
        restarts: How often a process of the pipeline is started again after an end that nobody asked for, by station.
    """

    def __init__(
        self, config: RunConfig, endpoints: stack.Endpoints, *, restarts: Mapping[str, int] | None = None
    ) -> None:
        self.config = config
        self.epoch_ns = 0
        self._stack_pids = dict(endpoints.pids)
        self._network = stack.Network(endpoints.proxy.port) if endpoints.proxy else None
        self._restarts = dict(restarts or {})
        self._supervisor = Supervisor(config.scratch, config.file)
        self._watch = Watch(config.scratch)
        self._told_s = 0.0

    def __enter__(self) -> Session:
        try:
            self._start(BACK)
            self._start(FRONT | worker_modules(only(self.config.scenario, ConsumerGroup)[1].replicas))
            self._start((AUDITOR if self.config.audit else {}) | (WATCHING if self.config.telemetry else {}))
        except BaseException:
            self._supervisor.stop_all(timeout_s=1.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._stack_pids:  # a stack left paused would hang whoever comes next
            with contextlib.suppress(psutil.Error):
                self._signal(name, signal.SIGCONT)
        if self._network:  # so would one left cut
            with contextlib.suppress(PlantError):
                self._network.heal_all()
        self._supervisor.__exit__(kind, error, trace)

    def _start(self, modules: dict[str, str]) -> None:
        self._supervisor.start(modules, restarts={name: self._restarts.get(station_of(name), 0) for name in modules})

    def start_load(self) -> int:
        """Starts the generator and returns when its load begins, monotonic ns."""
        module = "live_adapters.resend" if self.config.resend else "live_adapters.load"
        self._supervisor.start({GENERATOR: module})
        self._supervisor.expect_end(GENERATOR)
        self.epoch_ns = int((self.config.scratch / f"{GENERATOR}.ready").read_text(encoding="utf-8"))
        return self.epoch_ns

    def elapsed_s(self) -> float:
        """Seconds since the load began."""
        return (time.monotonic_ns() - self.epoch_ns) / NS_PER_S

    def watch_load(self, report: Report) -> None:
        """Returns when the generator has ended: everything is sent and acknowledged.

        Raises:
            PlantError: a process died, or the generator does not end.
        """
        while self.look_after(report):
            time.sleep(LOOK_S)

    def look_after(self, report: Report) -> bool:
        """Looks at every process, reports once a second, and tells whether the load goes on.

        Raises:
            PlantError: a process died, or the generator does not end.
        """
        config, ended = self.config, self.load_ended()
        self.check()
        if ended:
            return False
        elapsed_s = self.elapsed_s()
        if elapsed_s > config.load_s + END_S:
            raise PlantError(
                f"generator: must end within {END_S:.0f} s after the load, got no end; the gateway does not answer"
            )
        if elapsed_s - self._told_s >= 1.0:
            self._told_s = float(int(elapsed_s))
            phase = "warm-up" if elapsed_s < config.warmup_s else "window"
            report(self._watch.progress(phase, elapsed_s, config.load_s))
        return True

    def drain(self, report: Report) -> bool:
        """Waits until everything acknowledged has arrived; returns False when it stops arriving, or takes too long."""
        watch, load_s = self._watch, self.config.load_s
        last, moved_at, told_at = watch.counts(), time.monotonic(), 0.0
        give_up_at = moved_at + DRAIN_S
        while not watch.drained():
            self.check()
            now, counts = time.monotonic(), watch.counts()
            if counts != last:
                last, moved_at = counts, now
            if now > min(moved_at + STILL_S, give_up_at):
                return False
            if now - told_at >= 1.0:
                told_at = now
                report(watch.progress("draining", self.elapsed_s(), load_s))
            time.sleep(LOOK_S)
        # The metrics' last second must be whole.
        time.sleep(max(0.0, math.ceil(load_s) - self.elapsed_s()))
        return True

    def stop_load(self) -> None:
        """Asks the generator to send no more; it ends once everything sent is answered."""
        self._signal(GENERATOR, signal.SIGTERM)

    def load_ended(self) -> bool:
        """Tells whether the generator has ended."""
        return self._supervisor.ended(GENERATOR)

    def stop(self) -> LoadSummary:
        """Stops the pipeline in order and returns the generator's account.

        Raises:
            PlantError: a process does not end in order.
        """
        for name in (GENERATOR, *self.pipeline()):
            self._supervisor.stop(name)
        return LoadSummary(**json.loads((self.config.scratch / SUMMARY_FILE).read_text(encoding="utf-8")))

    def check(self) -> None:
        """Looks at every process of the pipeline; starts again what may be.

        Raises:
            PlantError: one died that may not be started again.
        """
        self._supervisor.check()

    def restarts(self, name: str) -> int:
        """Returns how often a process of the pipeline was started again."""
        return self._supervisor.restarts(name)

    def set_workers(self, count: int) -> None:
        """Starts or stops workers until so many run.

        Raises:
            InputError: the count is not from one to the topic's partitions.
            PlantError: one does not become ready, or does not drain.
        """
        restarts = self._restarts.get(WORKER, 0)
        set_workers(self._supervisor, count, most=self.config.partitions, restarts=restarts)

    def workers(self) -> list[str]:
        """Returns the names of the workers, the last one started last."""
        return workers_of(self._supervisor.pids())

    def pipeline(self) -> list[str]:
        """Returns the names of the pipeline's processes, in the order in which they stop."""
        names = self._supervisor.pids()
        return [name for station in STOP_ORDER for name in names if station_of(name) == station]

    def pids(self) -> dict[str, int]:
        """Returns the process id of every component of the stack and every process of the pipeline, by name."""
        return self._stack_pids | self._supervisor.pids()

    def kill(self, name: str) -> None:
        """Kills a process, and those below it, with SIGKILL; it stays down until `start_again`."""
        if self._of_stack(name):
            self._signal(name, signal.SIGKILL)
        else:
            self._supervisor.kill(name)

    def start_again(self, name: str) -> None:
        """Starts a process again that was killed, a component of the stack with its data, and waits until it is ready.

        Raises:
            PlantError: it does not become ready.
        """
        if self._of_stack(name):
            self._stack_pids = dict(stack.restart(name).pids)
        else:
            self._supervisor.start_again(name)

    def restart(self, name: str) -> None:
        """Ends a process in order and starts it again.

        Raises:
            PlantError: it does not drain, or does not become ready.
        """
        if self._of_stack(name):
            self._stack_pids = dict(stack.restart(name, orderly=True).pids)
        else:
            self._supervisor.restart(name)

    def pause(self, name: str) -> None:
        """Stops a process, and those below it, with SIGSTOP: it keeps its connections and does nothing."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Lets a paused process go on."""
        self._signal(name, signal.SIGCONT)

    def partition(self, name: str, *, peers: bool, clients: bool) -> None:
        """Cuts a broker off from its peers, its clients, or both.

        Raises:
            InputError: it is no broker.
            PlantError: the stack is not proxied, or the proxy does not answer.
        """
        self._proxy().cut(name, peers=peers, clients=clients)

    def slow(self, how: Slow) -> None:
        """Delays what a broker answers; raises as `partition`."""
        self._proxy().slow(how.process, how.latency_s, how.jitter_s, share=how.share, peers=how.peers)

    def heal(self, name: str) -> None:
        """Takes away what `partition` and `slow` did to a broker; raises as they do."""
        self._proxy().heal(name)

    def signal_generator(self, number: signal.Signals) -> None:
        """Asks the generator for what its signals stand for (`live_adapters.resend`)."""
        self._signal(GENERATOR, number)

    def _proxy(self) -> stack.Network:
        if self._network is None:
            raise PlantError("network: must have a proxy, got none; run `sentra down`, then `sentra up --proxied`")
        return self._network

    def _of_stack(self, name: str) -> bool:
        if name not in (known := self.pids()):
            raise InputError(f"session: must have a process {name!r}, got none; valid names: {', '.join(known)}")
        return name in self._stack_pids

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._of_stack(name)
        root = psutil.Process(self.pids()[name])
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
