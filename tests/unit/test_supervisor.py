"""The supervisor: a run ends with the last words of the process that died, and leaves no process behind."""

import os
import signal
import textwrap
from pathlib import Path

import psutil
import pytest

from live_adapters.pipeline.supervisor import Supervisor
from sentra_sim.errors import PlantError

# A pipeline process in small: ready at once, ends in order on SIGTERM.
WELL = """
    import signal, sys
    from pathlib import Path
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    scratch = Path(sys.argv[2]).parent
    with (scratch / "starts").open("a") as file:
        file.write("x")
    print("serving", flush=True)
    (scratch / "well.ready").touch()
    signal.pause()
"""
DIES = """
    import sys
    print("first line")
    print("cannot reach kafka", file=sys.stderr)
    sys.exit(3)
"""
DEAF = """
    import signal, sys
    from pathlib import Path
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(sys.argv[2]).parent / "deaf.ready").touch()
    while True:
        signal.pause()
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in (("well", WELL), ("dies", DIES), ("deaf", DEAF)):
        (tmp_path / f"{name}_program.py").write_text(textwrap.dedent(source))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Ends a child and returns once it has ended, without taking its exit code from the supervisor."""
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def supervise(scratch: Path) -> Supervisor:
    return Supervisor(scratch, scratch / "config.json")


def test_processes_start_are_watched_and_end_in_order(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        supervisor.check()
        pid = supervisor.pids()["well"]
        assert psutil.Process(pid).is_running()
        supervisor.stop("well")
        assert not psutil.pid_exists(pid)
    assert (scratch / "well.log").read_text() == "serving\n"


def test_a_process_that_dies_while_starting_ends_the_run_with_its_last_words(scratch: Path) -> None:
    with supervise(scratch) as supervisor, pytest.raises(PlantError) as error:
        supervisor.start({"dies": "dies_program"})
    assert "dies: must run to the end of the run, got exit code 3" in str(error.value)
    assert "cannot reach kafka" in str(error.value)


def test_a_killed_process_ends_the_run_and_takes_the_others_along(scratch: Path) -> None:
    pids: dict[str, int] = {}

    def run() -> None:
        with supervise(scratch) as supervisor:
            supervisor.start({"well": "well_program", "deaf": "deaf_program"})
            pids.update(supervisor.pids())
            kill(pids["well"])
            supervisor.check()

    with pytest.raises(PlantError, match=r"well: .* got signal SIGKILL; its last log lines: serving"):
        run()
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_a_process_that_may_be_started_again_is_and_only_so_often(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"}, restarts={"well": 1})
        first = supervisor.pids()["well"]
        kill(first)
        supervisor.check()
        second = supervisor.pids()["well"]
        assert second != first
        assert supervisor.restarts("well") == 1
        kill(second)
        with pytest.raises(PlantError, match="well: must run to the end"):
            supervisor.check()


def test_a_process_that_never_gets_ready_is_not_waited_for_for_ever(scratch: Path) -> None:
    with supervise(scratch) as supervisor, pytest.raises(PlantError, match="other: must be ready within 0 s"):
        supervisor.start({"other": "well_program"}, ready_s=0.0)


def test_a_process_that_does_not_drain_is_killed_and_named(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"deaf": "deaf_program"})
        pid = supervisor.pids()["deaf"]
        with pytest.raises(PlantError, match=r"deaf: must drain within 0 s, got no end; it logged nothing"):
            supervisor.stop("deaf", timeout_s=0.2)
        assert not psutil.pid_exists(pid)


def test_ctrl_c_leaves_no_process(scratch: Path) -> None:
    pids: dict[str, int] = {}

    def run() -> None:
        with supervise(scratch) as supervisor:
            supervisor.start({"well": "well_program", "deaf": "deaf_program"})
            pids.update(supervisor.pids())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_a_process_may_end_by_itself_when_it_is_expected_to(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        supervisor.expect_end("well")
        assert not supervisor.ended("well")
        kill(supervisor.pids()["well"], signal.SIGTERM)
        supervisor.check()
        assert supervisor.ended("well")


def test_a_process_killed_on_purpose_stays_down_until_it_is_started_again(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        supervisor.kill("well")
        supervisor.check()
        assert supervisor.ended("well")
        supervisor.start_again("well")
        assert not supervisor.ended("well")
        assert supervisor.restarts("well") == 1
        supervisor.check()
    assert (scratch / "starts").read_text() == "xx"


def test_a_restart_lets_a_process_end_in_order_before_it_starts_again(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        before = supervisor.pids()["well"]
        supervisor.restart("well")
        assert supervisor.pids()["well"] != before
        assert not psutil.pid_exists(before)
        supervisor.start({"deaf": "deaf_program"})
        with pytest.raises(PlantError, match="deaf: must drain within 0 s"):
            supervisor.restart("deaf", timeout_s=0.1)


def test_no_process_of_the_pipeline_has_linear_algebra_on_threads_that_spin(scratch: Path) -> None:
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        environment = psutil.Process(supervisor.pids()["well"]).environ()
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


def test_one_that_was_killed_on_purpose_can_be_taken_out_of_service(scratch: Path) -> None:
    """A worker that a fault holds down may be the one that an autoscaler sends home."""
    with supervise(scratch) as supervisor:
        supervisor.start({"well": "well_program"})
        supervisor.kill("well")
        supervisor.check()
        supervisor.stop("well")
        assert supervisor.pids() == {}
