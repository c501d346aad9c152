"""The frame that every process of the pipeline runs in: configuration, log, one uvloop, ready file, orderly end on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import uvloop

from live_adapters.pipeline.config import RunConfig, read_config
from live_adapters.pipeline.telemetry.exposition import PORT_SUFFIX, Collector, process_metrics, serve_metrics
from live_adapters.pipeline.telemetry.gclog import GcPauses
from live_adapters.pipeline.telemetry.jsonlog import set_up_logs
from sentra_sim.errors import SentraError

PARENT_CHECK_S = 1.0
ORPHAN_DRAIN_S = 30.0  # after the parent's death; what waits longer, say for brokers that went with it, waits for ever
PARENT = "SENTRA_PARENT"  # environment variable: the process id of the supervisor


class Lifecycle:
    """What a process tells its supervisor, and what it is told: `ready()` once, then `await stopped()`."""

    def __init__(self, name: str, scratch: Path, *, telemetry: bool = True) -> None:
        self.name = name
        self._file = scratch / f"{name}.ready"
        self._pauses = GcPauses(scratch, name) if telemetry else None
        if self._pauses is not None:
            self._pauses.start()
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._orphan = loop.create_task(self._stop_with_parent(parent_id()))

    def ready(self, text: str = "") -> None:
        """Says that the process serves; what was built until now leaves the garbage collector's view."""
        gc.collect()
        gc.freeze()
        write_ready(self._file, text)

    def report(self, counters: dict[str, int]) -> None:
        """Writes `<scratch>/<name>.counters.json`: what the process counted, for who compares it with the stores."""
        part = self._file.with_suffix(".counters-part")
        part.write_text(json.dumps(counters) + "\n", encoding="utf-8")
        part.replace(self._file.with_suffix(".counters.json"))

    def expose(self, *collectors: Collector) -> None:
        """Serves `/metrics` until the process ends: these, and what every process tells of itself; nothing without telemetry."""
        if self._pauses is None:
            return
        serve_metrics(self._file.with_suffix(PORT_SUFFIX), [*collectors, partial(process_metrics, self._pauses)])

    async def stopped(self) -> None:
        """Returns when the process is asked to drain and to end."""
        await self._stop.wait()

    @property
    def stopping(self) -> bool:
        """Tells whether the process has been asked to end."""
        return self._stop.is_set()

    async def _stop_with_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            await asyncio.sleep(PARENT_CHECK_S)
        log = logging.getLogger(__name__)
        log.warning("the parent process is gone: stops")
        self._stop.set()
        await asyncio.sleep(ORPHAN_DRAIN_S)
        log.error("drains for more than %.0f s with nobody left to wait for it: ends", ORPHAN_DRAIN_S)
        os._exit(1)


def parent_id() -> int:
    """Returns the process id of who started this process, also when that one has died since."""
    return int(os.environ.get(PARENT) or os.getppid())


def write_ready(file: Path, text: str = "") -> None:
    """Writes a ready file whole: who sees it can read it."""
    part = file.with_suffix(".part")
    part.write_text(text or str(os.getpid()), encoding="utf-8")
    part.replace(file)


def read_arguments(name: str) -> tuple[str, RunConfig]:
    """Parses `--config FILE` and `--name NAME` of a pipeline process, sets its log up, returns its name and the configuration."""
    parser = argparse.ArgumentParser(prog=f"live_adapters {name}")
    parser.add_argument("--config", required=True, type=Path, help="config.json in the run's scratch folder")
    parser.add_argument("--name", default=name, help="of this process among others of its kind, such as worker-2")
    options = parser.parse_args()
    formatter = set_up_logs(options.name)
    for chatty in ("aiokafka", "picows"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    config = read_config(options.config)
    if formatter is not None:
        formatter.run = config.topic
    return options.name, config


def run_process(name: str, serve: Callable[[RunConfig, Lifecycle], Awaitable[None]]) -> None:
    """Runs a pipeline process to its end: `serve` starts, calls `ready()`, awaits `stopped()`, drains and returns.

    A SentraError out of `serve` is one line in the log and the error's own exit code; any other exception is logged in
    full and ends the process with exit code 1, for the supervisor to see. The parent's death counts as SIGTERM.
    """
    try:
        name, config = read_arguments(name)
    except SentraError as error:
        logging.getLogger(name).error("%s", error)
        sys.exit(error.exit_code)

    async def main() -> None:
        await serve(config, Lifecycle(name, config.scratch, telemetry=config.telemetry))

    try:
        uvloop.run(main())
    except SentraError as error:
        logging.getLogger(name).error("%s", error)
        sys.exit(error.exit_code)
    except Exception:
        logging.getLogger(name).exception("ends after a failure")
        sys.exit(1)
    finally:
        # The loop's handlers went with it: a process that has drained by itself must not die of being asked to while it ends.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
