"""The table `details`: when each frame was sent to the broker and when the consumer returned it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.pipeline.hoplog import GATEWAY_PRODUCED, WORKER_FETCHED, read_log
from sentra_sim.records import DETAIL_COLUMNS


def details_table(scratch: Path, frames: NDArray[np.int64], epoch_ns: int) -> pl.DataFrame:
    """Returns a row per frame, in the order given; null where the log of a process has none."""
    produced = read_log(scratch, *GATEWAY_PRODUCED)
    fetched = read_log(scratch, *WORKER_FETCHED)
    sent = pl.DataFrame({"frame": produced["frame"].copy(), "produce_sent_ns": produced["sent"] - epoch_ns})
    came = pl.DataFrame(
        {
            "frame": fetched["frame"].copy(),
            "fetched_ns": fetched["at"] - epoch_ns,
            "high_watermark": pl.Series(fetched["high_watermark"].copy()).replace(-1, None),
        }
    )
    # A frame that was cut in two, or read again by another worker, was there when its last piece was.
    came = came.sort("fetched_ns", maintain_order=True).unique("frame", keep="last")
    joined = pl.DataFrame({"frame": frames}).join(sent, on="frame", how="left", maintain_order="left")
    joined = joined.join(came, on="frame", how="left", maintain_order="left")
    return joined.select(list(DETAIL_COLUMNS)).cast(DETAIL_COLUMNS)  # type: ignore[arg-type]
