"""What the stack writes down, and that it never ends a process that is not its own."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from live_adapters import stack
from live_adapters.stack._endpoints import COMPONENTS
from live_adapters.stack._process import Launch, alive, end, marked, spawn, wait_forgotten
from live_adapters.stack._state import FILE, Process, State, new_state, read_state, write_state
from live_adapters.stack.folders import locked, make_private, short_folder
from sentra_sim.errors import StackError

WAIT_FOREVER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
PORTS = {name: 20000 + number for number, name in enumerate(COMPONENTS)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(WAIT_FOREVER, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def launch(home: Path, name: str, code: str) -> Launch:
    return Launch(name, [sys.executable, "-c", code], home / name, home / "logs" / f"{name}.log")


def wait_for_log(file: Path, text: str) -> None:
    while text not in file.read_text():
        os.sched_yield()


def full_state(process: Process) -> State:
    return replace(new_state(PORTS), ready=True, processes=dict.fromkeys(COMPONENTS, process))


def test_a_state_is_read_as_it_was_written_and_nobody_else_may_read_it(home: Path) -> None:
    state = full_state(Process(4711, 1.5, "18.6"))
    write_state(home, state)
    assert read_state(home) == state
    assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600
    assert names(home) == [FILE]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "id": "x"}'])
def test_a_damaged_state_file_is_one_line_for_status_and_no_obstacle_for_down(home: Path, text: str) -> None:
    (home / FILE).write_text(text)
    with pytest.raises(StackError, match="must be a state file of schema 1") as caught:
        stack.status()
    assert "\n" not in str(caught.value)
    assert stack.down() == []
    assert stack.status() == []


def test_a_recycled_pid_is_told_dead_and_its_new_owner_lives_on(home: Path, stranger: subprocess.Popen[bytes]) -> None:
    created_s = psutil.Process(stranger.pid).create_time()
    write_state(home, full_state(Process(stranger.pid, created_s - 100, "1")))

    assert [component.alive for component in stack.status()] == [False] * len(COMPONENTS)
    with pytest.raises(StackError, match="all components must run"):
        stack.endpoints()
    assert stack.down() == []
    assert stranger.poll() is None
    assert not (home / FILE).exists()


def test_down_ends_what_was_started_but_never_written_down(home: Path, tmp_path: Path) -> None:
    mine = spawn(home, launch(home, "redis", WAIT_FOREVER[2]))
    other_home = tmp_path / "other"
    others = spawn(other_home, launch(other_home, "redis", WAIT_FOREVER[2]))
    try:
        wait_for_log(home / "logs" / "redis.log", "up")
        assert [process.pid for process in marked(home)["redis"]] == [mine.pid]
        assert stack.down() == ["redis"]
        assert alive(mine) is None
        found = alive(others)
        assert found
    finally:
        end([(found, signal.SIGTERM)], 5.0)
    assert alive(others) is None


def test_a_process_that_ignores_the_request_is_killed_with_its_children(home: Path) -> None:
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"child = subprocess.Popen([sys.executable, '-c', {WAIT_FOREVER[2]!r}], start_new_session=True);"
        "print('child', child.pid, flush=True); signal.pause()"
    )
    parent = spawn(home, launch(home, "kafka-1", code))
    wait_for_log(home / "logs" / "kafka-1.log", "up")
    found = alive(parent)
    assert found
    family = [found, *found.children()]
    assert len(family) == 2
    end([(found, signal.SIGTERM)], 0.1)
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


def test_nothing_is_up_in_a_home_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path / "none"))
    assert stack.status() == []
    assert stack.down() == []
    assert not (tmp_path / "none").exists()
    with pytest.raises(StackError, match=r"stack: must be up, got none in .*none; `sentra up` starts it"):
        stack.endpoints()


def test_one_works_at_a_time_and_the_other_says_that_it_waits(home: Path) -> None:
    told, entered = threading.Event(), threading.Event()

    def second() -> None:
        with locked(home, told.set):
            entered.set()

    with locked(home):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()


@pytest.mark.parametrize("name", ["a,b", "a%b", "a:b", 'a"b'])
def test_a_home_that_a_configuration_file_would_misread_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SENTRA_HOME", f"/var/tmp/{name}")
    with pytest.raises(StackError, match=r"must not contain .* set SENTRA_HOME to another folder"):
        stack.up()


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(StackError, match="must be a writable folder, got Not a directory; set SENTRA_HOME"):
        stack.up()


def test_a_folder_below_a_shared_one_is_refused_when_it_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="must be a folder of user"):
        make_private(tmp_path / "link", enter=True)


def test_sockets_have_short_paths_of_their_own_for_each_home(tmp_path: Path) -> None:
    deep = tmp_path / ("very" * 20) / ("deep" * 20)
    assert len(str(short_folder(deep) / "pg" / ".s.PGSQL.65535")) < 100
    assert short_folder(deep) != short_folder(tmp_path)


def test_the_facade_is_small_and_whole() -> None:
    assert len(stack.__all__) <= 15
    assert all(hasattr(stack, name) for name in stack.__all__)


def test_who_starts_again_waits_until_the_dead_one_is_out_of_the_process_table() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    left = psutil.Process(child.pid)
    dead = Process(child.pid, left.create_time())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert left.status() == psutil.STATUS_ZOMBIE
    wait_forgotten(dead, 5.0)
    assert not psutil.pid_exists(child.pid)
    child.wait()  # collected already
