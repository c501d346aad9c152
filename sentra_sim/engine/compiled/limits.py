"""What one process may use in a period. `reference/limits.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import THROTTLE, push
from sentra_sim.engine.compiled.memory import Row, Sim, cgroup_at, cold, plain


@cold
def change_running(sim: Sim, number: int, threads: int) -> None:
    """Notes that threads of a cgroup have got a core, or left theirs."""
    cgroup = cgroup_at(sim, number)
    if cgroup.quota > 0.0:
        count_use(sim, cgroup)
        cgroup.running += threads
        watch_quota(sim, number)


@plain
def count_use(sim: Sim, cgroup: Row) -> None:
    """Brings the account of a cgroup's period to now."""
    now = sim.now
    if now >= cgroup.end:
        begin = cgroup.end + int((now - cgroup.end) / cgroup.period) * cgroup.period
        cgroup.used = cgroup.running * (now - begin)
        cgroup.end = begin + cgroup.period
    else:
        cgroup.used += cgroup.running * (now - cgroup.counted)
    cgroup.counted = now


@plain
def watch_quota(sim: Sim, number: int) -> None:
    """Sets the alarm for when the quota will be used up if no thread comes or goes."""
    cgroup = cgroup_at(sim, number)
    cgroup.alarm += 1
    if cgroup.running == 0:
        return
    left, rest = cgroup.quota - cgroup.used, cgroup.end - sim.now
    if left < cgroup.running * rest:
        push(sim, max(0.0, left / cgroup.running), THROTTLE, number, cgroup.alarm)
    elif cgroup.running * cgroup.period > cgroup.quota:
        push(sim, rest + cgroup.quota / cgroup.running, THROTTLE, number, cgroup.alarm)
