"""The life of one process of the pipeline: options, logging, ready file, orderly end."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from live_adapters.pipeline.config import PipelineConfig, load_config
from sentra_sim.errors import SentraError

PARENT_CHECK_S = 1.0


class Life:
    """What a process's main coroutine is given: its name, the wish to stop, and the way to say that it is ready."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self._file = scratch / f"{name}.ready"
        self._file.unlink(missing_ok=True)

    def ready(self) -> None:
        """Writes `<scratch>/<name>.ready` (the process id) and takes all objects made so far out of the collector's rounds."""
        gc.collect()
        gc.freeze()
        part = self._file.with_suffix(".ready-part")
        part.write_text(f"{os.getpid()}\n", encoding="utf-8")
        os.replace(part, self._file)


Main = Callable[[PipelineConfig, Life], Awaitable[None]]


def run_process(name: str, main: Main) -> None:
    """Runs `main(config, life)` to its end and exits: 0 when it returns, a SentraError's own code, 1 for anything else.

    SIGTERM and SIGINT, or the death of the parent process, set `life.stopping`; `main` then drains and returns.
    Options: `--config FILE`, and `--name NAME` for a second process of the same kind.
    """
    parser = argparse.ArgumentParser(prog=f"python -m live_adapters.pipeline.{name}")
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--name", default=name)
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {options.name} %(levelname)s %(message)s", stream=sys.stderr
    )
    for noisy in ("aiokafka", "picows"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        config = load_config(options.config)
        uvloop.run(_live(options.name, config, main))
    except SentraError as error:
        logging.error("%s", error)
        sys.exit(error.exit_code)
    except Exception:
        logging.exception("died")
        sys.exit(1)


async def _live(name: str, config: PipelineConfig, main: Main) -> None:
    life = Life(name, config.scratch)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.stopping.set)
    orphan = asyncio.create_task(_stop_with_parent(life, os.getppid()))
    try:
        await main(config, life)
    finally:
        orphan.cancel()


async def _stop_with_parent(life: Life, parent: int) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_CHECK_S)
    logging.warning("the parent process is gone: stopping")
    life.stopping.set()
