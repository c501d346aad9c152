"""Whether a measured run may be believed: the instrument's own health, and that nothing was lost or doubled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from live_adapters.host.processes import HostUse
from live_adapters.load import LoadSummary
from live_adapters.recording.recorder import Recording
from sentra_sim.records import Validity, describe_machine
from sentra_sim.units import MS_PER_S

SEND_DELAY_P99_MAX_S = 0.005
LATENESS_MAX_S = 0.050
STEAL_MAX = 0.02
FOREIGN_MAX = 0.10
COMPILING_MAX = 0.05
COMPILERS = ("C1 Compiler", "C2 Compiler")  # threads of a JVM


def judge(
    summary: LoadSummary,
    recording: Recording,
    host: HostUse,
    *,
    window_s: tuple[float, float],
    counters: Mapping[str, int],
    drained: bool,
    host_speed: float,
) -> Validity:
    """Returns the verdict on a run, with a line for every rule that it breaks.

    Args:
        summary: The generator's account.
        recording: The tables, with what the recorder saw.
        host: CPU steal of the host.
        window_s: Start and end of the window, seconds since the epoch.
        counters: The run's counters.
        drained: Everything acknowledged arrived before the run was given up.
        host_speed: Of the calibration loop, relative to the stack's first run.
    """
    steal = steal_fraction(host, window_s)
    reasons = [*_late(summary), *_lost(counters, drained)]
    if steal > STEAL_MAX:
        reasons.append(f"CPU steal must be at most {STEAL_MAX:.0%}, got {steal:.1%}; the host gave the cores to others")
    foreign = foreign_fraction(host, window_s)
    if foreign > FOREIGN_MAX:
        reasons.append(
            f"other processes may take at most {FOREIGN_MAX:.0%} of the cores, got {foreign:.0%}; they took them from the pipeline"
        )
    compiling = compiling_fraction(host, window_s)
    if compiling > COMPILING_MAX:
        reasons.append(
            f"the brokers' compilers may take at most {COMPILING_MAX:.0%} of the cores, got {compiling:.0%}; "
            "brokers must be warm: measure again, or raise --warmup"
        )
    for hop, count in recording.negative_hops.items():
        reasons.append(
            f"hop {hop} must not lie before the hop that precedes it, got {count} that do; a clock or a log lies"
        )
    return Validity(
        valid=not reasons,
        reasons=tuple(reasons),
        send_delay_p99_s=summary.send_delay_p99_s,
        generator_lateness_max_s=summary.lateness_max_s,
        steal_fraction=steal,
        host_speed=host_speed,
    )


def steal_fraction(host: HostUse, window_s: tuple[float, float]) -> float:
    """Returns the share of all cores' time in the window that the hypervisor kept back."""
    start, end = int(window_s[0]), int(np.ceil(window_s[1]))
    cores = int(describe_machine()["cores"])
    return float(host.steal_s[start:end].sum() / (cores * (end - start)))


def foreign_fraction(host: HostUse, window_s: tuple[float, float]) -> float:
    """Returns the share of all cores' time in the window that went to processes which are no part of the pipeline."""
    start, end = int(window_s[0]), int(np.ceil(window_s[1]))
    cores = int(describe_machine()["cores"])
    own = float(host.cpu.seconds[:, start:end].sum())
    return max(0.0, float(host.busy_s[start:end].sum()) - own) / (cores * (end - start))


def compiling_fraction(host: HostUse, window_s: tuple[float, float]) -> float:
    """Returns the share of all cores' time in the window in which JVMs compiled their own code."""
    start, end = int(window_s[0]), int(np.ceil(window_s[1]))
    cores = int(describe_machine()["cores"])
    used = (values[start:end].sum() for (_, group), values in host.threads.items() if group.startswith(COMPILERS))
    return float(sum(used)) / (cores * (end - start))


def _late(summary: LoadSummary) -> list[str]:
    found = []
    delay, late = summary.send_delay_p99_s, summary.lateness_max_s
    if delay is None or late is None:
        found.append("the generator must send events in the window, got none")
    else:
        if delay > SEND_DELAY_P99_MAX_S:
            found.append(
                f"P99 send delay must be at most {SEND_DELAY_P99_MAX_S * MS_PER_S:.0f} ms, got {delay * MS_PER_S:.1f} ms; "
                "the generator could not keep its schedule"
            )
        if late > LATENESS_MAX_S:
            found.append(
                f"no message may leave more than {LATENESS_MAX_S * MS_PER_S:.0f} ms late, got {late * MS_PER_S:.1f} ms; "
                "the generator was starved"
            )
    return found


def _lost(counters: Mapping[str, int], drained: bool) -> list[str]:
    found = []
    if counters["acked"] != counters["sent"] - counters["refused"]:
        found.append(f"every event sent must be acknowledged, got {counters['acked']} of {counters['sent']}")
    if not drained:
        missing = counters["acked"] - counters["delivered"]
        found.append(
            f"everything acknowledged must arrive, got {missing} events still missing when nothing moved any more"
        )
    for name in ("lost", "duplicates", "unread"):
        if counters[name]:
            found.append(f"{name} must be 0, got {counters[name]}; PostgreSQL against what Kafka acknowledged")
    return found
