"""One fault under load: wait until all is well, inject, hold, heal, and watch until all is well again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from live_adapters.chaos.faults import Fault, Scene
from live_adapters.chaos.lookout import Bounds, Look, complaints
from sentra_sim.errors import PlantError

LOOK_S = 0.2
SETTLE_S = 60.0
RECOVER_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What became of one fault. `recovery_s`: from its injection until all was well for good; 0 when nothing was felt."""

    fault: str
    process: str
    at_s: float
    recovery_s: float | None
    felt: str


class Recogniser:
    """Tells when a pipeline has recovered: the first look of an unbroken streak of good ones, `steady_s` of the bounds long."""

    def __init__(self, bounds: Bounds, since_s: float) -> None:
        self.felt: list[str] = []
        self.last: list[str] = []
        self._bounds = bounds
        self._since_s = since_s
        self._well_at: float | None = None

    def see(self, look: Look) -> None:
        """Takes a look."""
        self.last = complaints(look, self._bounds)
        if self.last:
            self._well_at = None
            known = {line.partition(":")[0] for line in self.felt}
            self.felt += [line for line in self.last if line.partition(":")[0] not in known]
        elif self._well_at is None:
            self._well_at = look.at_s

    def steady(self, now_s: float) -> bool:
        """Tells whether all has been well for long enough."""
        return self._well_at is not None and now_s - self._well_at >= self._bounds.steady_s

    @property
    def recovery_s(self) -> float:
        """From the injection to the beginning of the last good streak, 0 when there was nothing else."""
        return 0.0 if not self.felt or self._well_at is None else self._well_at - self._since_s


class Background:
    """Work on a thread of its own, so that a session is looked at meanwhile."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Tells whether it is over.

        Raises:
            BaseException: what the work raised.
        """
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def wait(self) -> None:
        """Returns when it is over."""
        self._thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


def settle(scene: Scene, *, timeout_s: float = SETTLE_S) -> None:
    """Returns when all is well and every replica in sync, so that a fault meets a whole pipeline.

    Raises:
        PlantError: that does not come about.
    """
    started = time.monotonic()
    seen = Recogniser(scene.bounds, started)
    while True:
        scene.session.check()
        look = scene.lookout.look()
        seen.see(look)
        if look.out_of_sync == 0 and seen.steady(look.at_s):
            return
        if look.at_s - started > timeout_s:
            found = "; ".join(seen.last) or f"{look.out_of_sync} partitions out of sync"
            raise PlantError(f"chaos: the pipeline must be well within {timeout_s:.0f} s, got {found}; lower --rate")
        time.sleep(LOOK_S)


def try_fault(scene: Scene, fault: Fault) -> Outcome:
    """Plays one fault to its end.

    Raises:
        PlantError: a process cannot be started again.
    """
    settle(scene)
    process = scene.process_of(fault.target)
    at_s, started = scene.session.elapsed_s(), time.monotonic()
    seen = Recogniser(scene.bounds, started)
    fault.inject(scene, process)
    healing: Background | None = None
    while True:
        time.sleep(LOOK_S)
        now = time.monotonic()
        if healing is None and now - started >= fault.hold_s:
            healing = Background(lambda: fault.heal(scene, process))
        scene.session.check()
        seen.see(scene.lookout.look())
        healed = healing is not None and healing.done()
        if healed and seen.steady(time.monotonic()):
            return Outcome(fault.name, process, at_s, seen.recovery_s, "; ".join(seen.felt))
        if now - started > fault.hold_s + RECOVER_S:
            return Outcome(fault.name, process, at_s, None, "; ".join(seen.last))
