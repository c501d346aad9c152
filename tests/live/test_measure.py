"""`measure` on the real stack: what it records, and how it ends when a process dies or the user has seen enough."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from live_adapters import stack as local_stack
from live_adapters.measure import measure
from live_adapters.watch import Progress
from sentra_sim.errors import InputError, PlantError, RecordingError
from sentra_sim.kpi import cpu_cores
from sentra_sim.records import read_run
from sentra_sim.scenario import hop_edges, load_scenario, processes
from sentra_sim.scenario.arrivals import draw_offered
from tests.live.short_run import ShortRun

pytestmark = pytest.mark.live

SCENARIO_FILE = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
SCENARIO = load_scenario(SCENARIO_FILE)
RATE_EPS = 5_000.0
ENDS_WITHIN_S = 30.0

# A run in a process of its own, for Ctrl-C. It says how far it is.
RUN = """
import sys
from pathlib import Path
from live_adapters.measure import measure
from sentra_sim.scenario import load_scenario
def tell(at):
    print("loaded" if at.acked_events else at.phase, flush=True)
measure(load_scenario(sys.argv[1]), rate_eps=5000.0, seconds=60.0, warmup_s=0.0, seed=1, out=Path(sys.argv[2]), progress=tell)
"""


def pipeline_processes(parent: psutil.Process | None = None) -> dict[str, psutil.Process]:
    """The pipeline's processes below one process (this one), by the last part of their module."""
    found = {}
    for child in (parent or psutil.Process()).children(recursive=True):
        if child.status() == psutil.STATUS_ZOMBIE:  # of a stack that another test has ended
            continue
        command = child.cmdline()
        module = command[command.index("-m") + 1] if "-m" in command else ""
        # A stack that the tests started is below this process too, but no part of the pipeline.
        if module.startswith("live_adapters.") and not module.startswith("live_adapters.stack."):
            found[module.rpartition(".")[2]] = child
    return found


def once_loaded(action: Callable[[], None], after_s: float = 3.0) -> Callable[[Progress], None]:
    """A progress report that acts once, when the load has been going for a while."""
    done: list[bool] = []

    def report(at: Progress) -> None:
        if at.elapsed_s >= after_s and at.delivered_events and not done:
            done.append(True)
            action()

    return report


def assert_nothing_is_left(out: Path) -> None:
    assert pipeline_processes() == {}
    assert list(out.parent.iterdir()) == []
    assert list((Path(os.environ["SENTRA_HOME"]) / "runs").glob("*.part")) == []


def test_a_short_run_loses_nothing_doubles_nothing_and_keeps_the_record_contract(
    stack: local_stack.Endpoints, short_run: ShortRun
) -> None:
    run, told, out = short_run.run, short_run.told, short_run.out
    assert pipeline_processes() == {}
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert {"starting", "warm-up", "window", "writing"} <= {at.phase for at in told}

    counters = run.manifest.counters
    offered = len(draw_offered(run.manifest.load_scenario().load, 10.0, 5).keys)
    for name in ("sent", "acked", "delivered", "effects"):
        assert counters[name] == offered, name
    for name in ("lost", "duplicates", "unread", "dead", "refused", "worker_restarts"):
        assert counters[name] == 0, name

    frames = run.tables.frames
    assert frames["events"].sum() == run.tables.events.height == offered
    assert set(frames["outcome"]) == {"ok"}
    for edge in hop_edges(SCENARIO)[1:]:
        assert (frames[f"{edge.hop}_ns"] >= frames[f"{edge.after}_ns"]).all(), edge.hop
    assert not any("clock" in reason for reason in run.manifest.validity.reasons)

    offsets = run.tables.events["intended_offset_ns"].to_numpy()
    received = np.repeat(frames["received_ns"].to_numpy(), frames["events"].to_numpy())
    intended = np.sort((received + offsets) / 1e9)
    np.testing.assert_allclose(intended, draw_offered(run.manifest.load_scenario().load, 10.0, 5).intended_s, atol=2e-9)

    cores = cpu_cores(run)
    assert set(cores) == set(processes(SCENARIO))
    assert all(value > 0.0 for value in cores.values())
    assert run.manifest.stack == stack.versions
    assert read_run(out).manifest == run.manifest

    with pytest.raises(RecordingError, match="must not exist yet"):
        measure(SCENARIO, rate_eps=RATE_EPS, seconds=2.0, warmup_s=0.0, seed=1, out=out)


def test_a_worker_killed_in_the_middle_is_started_again_and_nothing_is_lost_or_doubled(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_worker() -> None:
        worker = pipeline_processes()["worker"]
        killed.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)

    run = measure(
        SCENARIO,
        rate_eps=RATE_EPS,
        seconds=7.0,
        warmup_s=1.0,
        seed=2,
        out=tmp_path / "run",
        progress=once_loaded(kill_worker, after_s=2.0),
    )
    counters = run.manifest.counters
    assert len(killed) == counters["worker_restarts"] == 1
    for name in ("sent", "acked", "delivered", "effects"):
        assert counters[name] == 40_000, name
    assert (counters["lost"], counters["duplicates"], counters["unread"]) == (0, 0, 0)
    assert set(run.tables.frames["outcome"]) == {"ok"}


def test_a_process_that_dies_ends_the_run_with_its_last_words(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    at: list[float] = []

    def kill_fanout() -> None:
        at.append(time.monotonic())
        os.kill(pipeline_processes()["fanout"].pid, signal.SIGKILL)

    out = tmp_path / "run"
    with pytest.raises(PlantError, match=r"^fanout: must run to the end of the run, got signal SIGKILL; "):
        measure(
            SCENARIO,
            rate_eps=RATE_EPS,
            seconds=60.0,
            warmup_s=0.0,
            seed=2,
            out=out,
            progress=once_loaded(kill_fanout),
        )
    assert time.monotonic() - at[0] < ENDS_WITHIN_S
    assert_nothing_is_left(out)


@pytest.mark.parametrize("moment", ["starting", "loaded"])
def test_ctrl_c_leaves_no_process_and_no_half_written_run(
    stack: local_stack.Endpoints, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(SCENARIO_FILE), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        while process.stdout.readline() != f"{moment}\n":
            assert process.poll() is None
        children = pipeline_processes(psutil.Process(process.pid))
        assert len(children) == (7 if moment == "loaded" else 0)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=ENDS_WITHIN_S)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not any(child.is_running() for child in children.values())
    assert_nothing_is_left(out)


def test_what_cannot_be_measured_is_refused_before_anything_starts(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="rate_eps: must be greater than 0, got -5"):
        measure(SCENARIO, rate_eps=-5.0, seconds=2.0, warmup_s=0.0, seed=1, out=out)
    with pytest.raises(
        InputError, match=rf"ports\.gateway: must be a free port of 127\.0\.0\.1, got {stack.redis.port}"
    ):
        measure(
            SCENARIO,
            rate_eps=RATE_EPS,
            seconds=2.0,
            warmup_s=0.0,
            seed=1,
            out=out,
            ports={"gateway": stack.redis.port},
        )
    assert list(tmp_path.iterdir()) == []
