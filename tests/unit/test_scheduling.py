"""The instrument's threads come to a core soon, at no one's cost."""

import subprocess
import sys
from pathlib import Path

import pytest

REPORT = """
import os, threading
from live_adapters.host.scheduling import ask_short_slice
os.nice(3)
assert ask_short_slice(2e-4)
def tell():
    status = open(f"/proc/self/task/{threading.get_native_id()}/sched").read()
    slice_ns = next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith("se.slice"))
    print(slice_ns, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_OTHER)
thread = threading.Thread(target=tell)
thread.start()
thread.join()
"""


@pytest.mark.skipif(
    "se.slice" not in (Path("/proc/self/sched").read_text() if Path("/proc/self/sched").exists() else ""),
    reason="the kernel does not tell slices",
)
def test_threads_started_later_have_the_short_slice_and_the_same_share() -> None:
    told = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["200000", "3", "True"]
