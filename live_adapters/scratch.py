"""What a run needs for itself: the stack to itself, a scratch folder, topics of its own."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from live_adapters import stack
from live_adapters.pipeline.config import CONFIG_FILE, RunConfig, read_config
from live_adapters.stack.folders import home
from sentra_sim.errors import PlantError


@contextlib.contextmanager
def own_topics(config: RunConfig) -> Iterator[None]:
    """Topics of the run's own, for events and for dead letters, so that no run reads another's events."""
    try:
        for topic in (config.topic, config.dead_letter_topic):
            stack.ensure_topic(config.kafka, topic, config.partitions)
        yield
    finally:
        _delete_topics(config)


def _delete_topics(config: RunConfig) -> None:
    for topic in (config.topic, config.dead_letter_topic):
        stack.delete_topic(config.kafka, topic)


@contextlib.contextmanager
def one_at_a_time(kafka: str) -> Iterator[None]:
    """Holds the stack for one run: runs share stores and cores. Clears away what a killed run has left.

    Raises:
        PlantError: another run holds it.
    """
    runs = home() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    file = os.open(home() / "measure.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlantError("measure: one run at a time on a stack, got another going on; wait for its end") from None
        for left in runs.glob("*.part"):
            _clear(left, kafka)
        yield
    finally:
        os.close(file)


def _clear(left: Path, kafka: str) -> None:
    with contextlib.suppress(Exception):  # of another stack, or half-made: its topic is gone with it
        _delete_topics(replace(read_config(left / CONFIG_FILE), kafka=kafka))
    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(keep: bool) -> Iterator[Path]:
    """The run's scratch folder; its name ends in .part while the run goes on."""
    folder = Path(tempfile.mkdtemp(prefix="", suffix=".part", dir=home() / "runs"))
    try:
        yield folder
    finally:
        if keep:
            folder.rename(folder.with_suffix(""))
            logging.getLogger(__name__).info("scratch kept in %s", folder.with_suffix(""))
        else:
            shutil.rmtree(folder, ignore_errors=True)
