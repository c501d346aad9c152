"""CPU accounting: what a process, its threads and its children have used, by whole seconds of the run."""

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from live_adapters.host import holdings, processes
from live_adapters.host.processes import CpuSampler, cpu_seconds, descendants
from live_adapters.host.speed import loop_seconds, relative_speed
from live_adapters.host.threads import ThreadAccount, ThreadUse, thread_uses
from sentra_sim.units import NS_PER_S

# Works 0.2 s of CPU in a child, says so, and stays until its input ends.
PARENT = """
import subprocess, sys
work = "import time\\nwhile time.process_time() < 0.2: pass\\nprint('done', flush=True)\\ninput()"
child = subprocess.Popen([sys.executable, '-c', work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
child.communicate(b'\\n')
print('child ended', flush=True)
input()
"""

THREADS = """
import os, threading
from pathlib import Path
from live_adapters.host.threads import thread_group
def tell(name):
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
    print(thread_group(os.getpid(), threading.get_native_id()), end="|")
for name in ("data-plane-12", "single"):
    thread = threading.Thread(target=tell, args=(name,))
    thread.start()
    thread.join()
"""


def test_the_kernels_account_agrees_with_the_process_clock() -> None:
    stop = time.process_time() + 0.2
    while time.process_time() < stop:
        pass
    assert cpu_seconds(os.getpid()) == pytest.approx(sum(os.times()[:4]), abs=0.03)
    use = thread_uses(os.getpid())[threading.get_native_id()]
    assert use.cpu_s == pytest.approx(time.thread_time(), abs=0.03)
    assert use.run_delay_s >= 0.0


def test_a_childs_work_counts_while_it_lives_and_after() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    child = int(process.stdout.readline())
    sampler = CpuSampler(("tree",), lambda: {"tree": [process.pid]})
    assert descendants(process.pid) == [process.pid, child]
    sampler.sample()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "child ended\n"
    assert descendants(process.pid) == [process.pid]
    sampler.sample()
    process.communicate("\n")
    sampler.sample()
    living, ended, gone = (row[0] for row in sampler._cpu)
    assert living >= 0.19
    assert ended >= living - 1e-9
    assert gone == ended


def test_a_process_started_again_goes_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {10: 5.0, 11: 2.0}
    births = {10: "100", 11: "200"}
    monkeypatch.setattr(processes, "descendants", lambda pid: [pid])
    monkeypatch.setattr(processes, "cpu_seconds", used.__getitem__)
    monkeypatch.setattr(processes, "thread_uses", lambda pid: {})
    monkeypatch.setattr(processes, "_stat_fields", lambda pid: [""] * 19 + [births[pid]])
    ids: dict[str, Sequence[int]] = {"worker": [10]}

    def current() -> Mapping[str, Sequence[int]]:
        return ids

    sampler = CpuSampler(("worker",), current)
    sampler.sample()
    ids["worker"] = [11]
    sampler.sample()
    used[11] = 3.5
    sampler.sample()
    assert [row[0] for row in sampler._cpu] == [5.0, 7.0, 8.5]


def test_samples_are_spread_over_whole_seconds_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = CpuSampler(("a",), lambda: {})
    sampler._times_ns = [round(t * NS_PER_S) for t in (0.5, 1.5, 2.5, 3.5)]
    sampler._cpu = [[0.0], [0.2], [0.6], [0.6]]
    sampler._delay = [[0.0], [0.0], [0.0], [0.0]]
    busy, idle = ("a", "C2 CompilerThre"), ("a", "rarely")
    sampler._threads = [{idle: 0.0}, {busy: 0.1, idle: 0.001}, {busy: 0.4, idle: 0.002}, {busy: 0.4, idle: 0.002}]
    sampler._host = [(0.0, 0.0, 1), (0.0, 1.0, 2), (0.1, 2.0, 3), (0.1, 3.0, 4)]
    use = sampler.use(epoch_ns=NS_PER_S, seconds=2)
    np.testing.assert_allclose(use.cpu.seconds, [[0.3, 0.2]])
    np.testing.assert_allclose(use.busy_s, [1.0, 1.0])
    np.testing.assert_allclose(use.steal_s, [0.05, 0.05])
    assert use.seconds == 2
    assert list(use.threads) == [busy]
    np.testing.assert_allclose(use.threads[busy], [0.2, 0.15])


def test_threads_of_a_pool_count_as_one_and_ended_ones_stay_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {1: "pool-1", 2: "pool-2", 3: "C2 CompilerThre"}
    monkeypatch.setattr("live_adapters.host.threads.PROC", Path("/nonexistent"))
    account = ThreadAccount()
    monkeypatch.setattr(
        "live_adapters.host.threads.thread_group", lambda pid, thread: names[thread].rstrip("0123456789").rstrip("-")
    )
    account.add(7, {thread: ThreadUse(1.0, 0.0) for thread in names})
    account.add(7, {1: ThreadUse(1.5, 0.0), 3: ThreadUse(0.25, 0.0)})  # 2 has ended, 3's id is another thread's
    assert account.total() == {"pool": 2.5, "C2 CompilerThre": 1.25}


def test_a_groups_name_is_the_threads_without_its_number() -> None:
    told = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True).stdout
    assert told.split("|")[:2] == ["data-plane", "single"]


def test_host_speed_is_relative_to_the_first_loop_recorded(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert relative_speed(0.010, home) == 1.0
    assert relative_speed(0.012, home) == pytest.approx(0.8333, abs=1e-4)
    assert relative_speed(0.008, home) == pytest.approx(1.25)
    assert loop_seconds(rounds=1) > 0.0


def test_memory_and_descriptors_of_a_tree_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "resident_bytes", {1: 100, 2: 30}.__getitem__)
    monkeypatch.setattr(holdings, "private_bytes", {1: 60, 2: 20}.__getitem__)
    pid = os.getpid()
    before = holdings.open_fds(pid)
    with Path(os.devnull).open() as _:
        assert holdings.open_fds(pid) == before + 1
    account = holdings.HoldingAccount()
    account.sample([1, 2], 2 * NS_PER_S)
    account.sample([], round(3.5 * NS_PER_S))  # ended
    account.sample([1], round(4.5 * NS_PER_S))
    held = account.resident_bytes(epoch_ns=NS_PER_S, seconds=5)
    np.testing.assert_array_equal(held, [130.0, 130.0, np.nan, 100.0, 100.0])
    own = account.private_bytes(epoch_ns=NS_PER_S, seconds=5)
    np.testing.assert_array_equal(own, [80.0, 80.0, np.nan, 60.0, 60.0])


def test_resident_memory_is_the_kernel_s_and_private_is_what_is_no_file_s() -> None:
    pid = os.getpid()
    assert holdings.resident_bytes(pid) == pytest.approx(psutil.Process().memory_info().rss, rel=0.02)
    before = holdings.private_bytes(pid)
    assert before < holdings.resident_bytes(pid) - 10e6  # the libraries' files
    # Mapped anew: what an array takes may come from memory that was given back within the process.
    with mmap.mmap(-1, 20_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as grown:
        for page in range(0, len(grown), mmap.PAGESIZE):
            grown[page] = 1
        assert holdings.private_bytes(pid) - before == pytest.approx(len(grown), rel=0.1)


def test_descriptors_are_counted_every_few_seconds_and_what_may_not_be_seen_is_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def count(pid: int) -> int:
        asked.append(pid)
        if pid == 9:
            raise PermissionError
        return 7

    monkeypatch.setattr(holdings, "open_fds", count)
    monkeypatch.setattr(holdings, "resident_bytes", lambda _: 1)
    monkeypatch.setattr(holdings, "private_bytes", lambda _: 1)
    account = holdings.HoldingAccount()
    for second in range(12):
        account.sample([4, 5] if second < 10 else [4, 9], second * NS_PER_S)
    assert asked == [4, 5, 4, 5, 4, 9]
    np.testing.assert_array_equal(account.open_fds(0, 11)[[0, 8, 10]], [14.0, 14.0, np.nan])


def test_a_sampler_tells_what_its_processes_hold() -> None:
    sampler = CpuSampler(("self", "absent"), lambda: {"self": [os.getpid()]})
    sampler.sample()
    epoch_ns = time.monotonic_ns()
    sampler.sample()
    use = sampler.use(epoch_ns, 1)
    assert use.resident_bytes["self"][0] > 1e6
    assert use.open_fds["self"][0] >= 3
    assert np.isnan(use.resident_bytes["absent"]).all()
