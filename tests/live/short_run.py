"""A short run that several tests look at: what it told while it went, what it answered to a scrape, what it recorded."""

import json
import os
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from live_adapters.measure import measure
from live_adapters.pipeline.telemetry.targets import TARGETS_FILE
from live_adapters.watch import Progress
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario

RATE_EPS, SECONDS, WARMUP_S, SEED = 5_000.0, 8.0, 2.0, 5
OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def scrape(target: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(f"http://{target}/metrics", headers=OPEN_METRICS)) as answer:
        return str(answer.read().decode())


class Prometheus:
    """Scrapes every target of the run once, when the load has been going for a while."""

    def __init__(self) -> None:
        self.file = Path(os.environ["SENTRA_HOME"]) / TARGETS_FILE
        self.texts: dict[str, str] = {}
        self.thread = threading.Thread(target=self._scrape)

    def progress(self, at: Progress) -> None:
        if at.elapsed_s >= 5.0 and not self.thread.ident:
            self.thread.start()

    def _scrape(self) -> None:
        for group in json.loads(self.file.read_text()):
            self.texts[group["labels"]["process"]] = scrape(group["targets"][0])


@dataclass(frozen=True)
class ShortRun:
    """The run as it is recorded, and what it told and exposed while it went."""

    out: Path
    run: Run
    told: list[Progress]
    prometheus: Prometheus


def play(scenario: Scenario, out: Path) -> ShortRun:
    prometheus, told = Prometheus(), list[Progress]()

    def progress(at: Progress) -> None:
        told.append(at)
        prometheus.progress(at)

    run = measure(
        scenario,
        rate_eps=RATE_EPS,
        seconds=SECONDS,
        warmup_s=WARMUP_S,
        seed=SEED,
        out=out,
        arrivals="poisson",
        progress=progress,
    )
    prometheus.thread.join()
    return ShortRun(out, run, told, prometheus)
