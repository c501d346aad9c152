"""Frames that wait for a consumer: in one line or, where its group tells the log's lanes apart, in one for each lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sentra_sim.engine.reference.world import Frame
from sentra_sim.scenario import Batcher, ConsumerGroup, Log, Scenario, only
from sentra_sim.scenario.lanes import lanes_of_partitions, quanta, served_lanes


class Waiting:
    """Lines of frames in order of availability, and which of them is served next.

    Without quanta it is the first one in which somebody waits, which of a single line is arrival. With quanta it is deficit round robin
    (Shreedhar & Varghese 1996): a visit to a line adds its quantum to what it had left, and lasts until that, or the line, is used up.
    """

    def __init__(self, scenario: Scenario) -> None:
        log, group = only(scenario, Log)[1], only(scenario, ConsumerGroup)[1]
        count = served_lanes(log, group)
        self._line = lanes_of_partitions(log) if count else [0] * log.partitions
        self._quanta = quanta(log, only(scenario, Batcher)[1].max_events) if group.service == "fair" else []
        self.lines: list[deque[Frame]] = [deque() for _ in range(max(1, count))]
        self.renew()

    def renew(self) -> None:
        """Forgets whose turn it was: a new process begins with the first lane."""
        self._left = [0.0] * len(self.lines)  # by line, in events
        self._turn, self._visiting = 0, False

    def add(self, frame: Frame) -> None:
        """Puts a frame at the end of its line."""
        self.lines[self._line[frame.partition]].append(frame)

    def put_back(self, frames: list[Frame]) -> None:
        """Puts frames before all others of their lines."""
        for frame in reversed(frames):
            self.lines[self._line[frame.partition]].appendleft(frame)

    def leave(self) -> Iterable[Frame]:
        """Takes all frames out, line by line."""
        found = [frame for line in self.lines for frame in line]
        for line in self.lines:
            line.clear()
        return found

    def next(self) -> Frame | None:
        """Returns the frame whose turn it is, if one waits; `take` takes it out."""
        if not any(self.lines):
            return None
        if self._quanta:
            self._visit()
        else:
            self._turn = next(number for number, line in enumerate(self.lines) if line)
        return self.lines[self._turn][0]

    def take(self, *, served: bool) -> None:
        """Takes out the frame that `next` has returned; one that is not served costs its lane nothing."""
        line = self.lines[self._turn]
        frame = line.popleft()
        if self._quanta and served:
            self._left[self._turn] -= frame.events
        if self._quanta and not line:
            self._pass_on()

    def _visit(self) -> None:
        """Goes on with the visit under way, or to the next line that has enough for its first frame; some line has one."""
        while True:
            line = self.lines[self._turn]
            if line and not self._visiting:
                self._visiting = True
                self._left[self._turn] += self._quanta[self._turn]
            if line and line[0].events <= self._left[self._turn]:
                return
            self._pass_on()

    def _pass_on(self) -> None:
        if not self.lines[self._turn]:
            self._left[self._turn] = 0.0
        self._visiting = False
        self._turn = (self._turn + 1) % len(self.lines)
