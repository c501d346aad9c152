"""What passes through the running pipeline, off its hop logs while they grow: the metrics of a live plant."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import PRICING_RELEASES, RELEASE_JOBS, LogTail
from live_adapters.pipeline.telemetry.framebook import FrameBook, Known
from live_adapters.recording.recorder import hop_names
from sentra_sim.control.plant import KEEP_S, check_window
from sentra_sim.kpi import QUANTILES, final_hop
from sentra_sim.scenario import INTENDED
from sentra_sim.units import NS_PER_S

USUAL_S = 60.0  # what is kept at least


@dataclass(frozen=True)
class _Whole:
    """A frame of which all has arrived, or nothing more is expected."""

    end_ns: int
    known: Known


class Passing:
    """Counts what passes. Its names are those of the simulated plant; see `sentra_sim.control.plant.Plant`."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._book = FrameBook(config.scratch)
        self._whole: deque[_Whole] = deque()
        self._jobs = LogTail(config.scratch, *PRICING_RELEASES)
        self._priced: deque[NDArray[np.void]] = deque()
        self._longest_s = USUAL_S
        names = vars(hop_names(config.scenario))
        self._hops = {name: mark for mark, name in names.items()}  # the scenario's name of a hop -> the logs'

    def metrics(self, window_s: float) -> dict[str, float]:
        """Returns what passed in the last `window_s` seconds.

        Raises:
            PlantError: the window is none, or longer than is kept.
        """
        check_window(window_s)
        book, now_ns = self._book, time.monotonic_ns()
        book.look()
        self._longest_s = max(self._longest_s, window_s)
        old_ns = now_ns - int(self._longest_s * NS_PER_S)
        given_up_ns = now_ns - int(KEEP_S * NS_PER_S)  # no longer is a frame waited for
        self._whole.extend(_Whole(max(known.marks.values()), known) for _, known in book.done(given_up_ns))
        while self._whole and self._whole[0].end_ns < old_ns:
            self._whole.popleft()
        known = [*(frame.known for frame in self._whole), *book.frames.values()]
        start_ns = now_ns - int(window_s * NS_PER_S)
        found = self._rates(known, start_ns, window_s) | self._times(known, start_ns) | self._lag(now_ns)
        return found | self._releases(start_ns, old_ns, window_s)

    def _rates(self, known: list[Known], start_ns: int, window_s: float) -> dict[str, float]:
        events = np.array([frame.events for frame in known], dtype=np.float64)
        found = {f"{hop}_eps": float(events @ (self._at(known, hop) > start_ns)) / window_s for hop in self._hops}
        # The live pipeline's frames end delivered; what it refuses or gives up is counted elsewhere.
        through = found[f"{final_hop(self._config.scenario)}_eps"]
        return found | {"throughput_eps": through}

    def _times(self, known: list[Known], start_ns: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, span in self._config.scenario.kpis.items():
            ended = self._at(known, span.end)
            rows = np.flatnonzero(ended > start_ns)
            if not len(rows):
                continue
            here = [known[row] for row in rows.tolist()]
            counts = [len(frame.intended) for frame in here]
            if span.start == INTENDED:
                begun = np.concatenate([frame.intended for frame in here])
            else:
                begun = np.repeat(self._at(here, span.start), counts)
            values = np.quantile((np.repeat(ended[rows], counts) - begun) / NS_PER_S, list(QUANTILES.values()))
            found |= {f"{name}_{label}_s": float(value) for label, value in zip(QUANTILES, values, strict=True)}
        return found

    def _releases(self, start_ns: int, old_ns: int, window_s: float) -> dict[str, float]:
        """Returns what pricing's releases did; told only of requests that a canary had a part in."""
        self._priced.append(self._jobs.look())
        while self._priced and (not len(self._priced[0]) or self._priced[0]["at"][-1] < old_ns):
            self._priced.popleft()
        rows = np.concatenate(self._priced) if self._priced else np.empty(0, RELEASE_JOBS)
        rows = rows[rows["at"] > start_ns]
        found: dict[str, float] = {}
        for name, jobs in (("stable", rows[~rows["canary"]]), ("canary", rows[rows["canary"]])):
            if len(jobs):
                found |= {
                    f"{name}.priced_eps": float(jobs["events"].sum()) / window_s,
                    f"{name}.error_rate": float(jobs["failed"].mean()),
                    f"{name}.job_p95_s": float(np.quantile(jobs["duration_ns"], 0.95)) / NS_PER_S,
                }
        return found

    def _lag(self, now_ns: int) -> dict[str, float]:
        waiting = {partition: max(0, events) for partition, events in self._book.waiting.items()}
        acked = [known.marks["acked"] for known in self._book.frames.values() if "started" not in known.marks]
        return {
            "lag_events": float(sum(waiting.values())),
            "lag_s": (now_ns - min(acked)) / NS_PER_S if acked else 0.0,
            "lag_partitions": float(sum(events > 0 for events in waiting.values())),
            "partitions": float(self._config.partitions),
        }

    def _at(self, known: list[Known], hop: str) -> NDArray[np.int64]:
        """Returns when frames came to a hop, 0 where one has not."""
        mark = self._hops[hop]
        return np.array([frame.marks.get(mark, 0) for frame in known], dtype=np.int64)
