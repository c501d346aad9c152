"""The evidence of a run that has drained, read from the log and the stores while they are still there."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import read_log
from live_adapters.verify.acked import answers
from live_adapters.verify.audit import AUDIT_KEYS, AUDITOR
from live_adapters.verify.evidence import Evidence
from live_adapters.verify.examine import Examiner
from live_adapters.verify.held import Held, read_held
from live_adapters.verify.topic import read_topic

CONVERGE_S = 5.0  # that Redis and ClickHouse may take to equal PostgreSQL
PAUSE_S = 0.2


async def collect(config: RunConfig, *, sent: int, acked: int, drained: bool) -> Evidence:
    """Reads the run's topic and stores; before the topic is removed.

    Args:
        config: The run's.
        sent: The highest sequence that the generator sent.
        acked: How many events were acknowledged; which ones, the generator's log of answers tells, if it wrote one.
        drained: Everything acknowledged had arrived when the pipeline was stopped.

    Raises:
        PlantError: a store or Kafka cannot be reached.
    """
    examiner = Examiner(await _converged(config), answers(config.scratch, sent, acked), drained=drained)
    if config.audit:
        examiner.audited(*read_audit(config.scratch))
    async for log in read_topic(config):
        await asyncio.to_thread(examiner.take, log)
    return examiner.evidence()


def read_audit(scratch: Path) -> tuple[dict[str, int], NDArray[np.void]]:
    """Returns what the checker beside the run left: its counters, and what each key must hold, shape (keys,) of AUDITED."""
    counters = json.loads((scratch / f"{AUDITOR}.counters.json").read_text(encoding="utf-8"))
    return counters, read_log(scratch, *AUDIT_KEYS)


async def _converged(config: RunConfig) -> Held:
    deadline = time.monotonic() + CONVERGE_S
    while not (held := await read_held(config)).converged and time.monotonic() < deadline:
        await asyncio.sleep(PAUSE_S)
    return held
