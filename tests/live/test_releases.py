"""A canary at a fifth of the keys: each planted defect shows in the counters as what it is, and no event is lost or done twice."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import WORKER_RELEASES, read_log
from live_adapters.pipeline.pricing import PricingClient
from live_adapters.pipeline.releases import list_releases
from live_adapters.pipeline.storage import reset_stores
from live_adapters.verify import verify_stores
from tests.live.back_half import Processes, back_half, make_config, make_events, produce, until_taken

pytestmark = pytest.mark.live

WAIT_S = 30.0
HALF_EVENTS = 4_000
CANARIES = ("good", "slower", "tail", "errors", "leak", "cold-cache", "lag", "wrong-price")


@dataclass(frozen=True)
class Seen:
    """What the service counted for a canary: in the first half of its events, in the second, in all; and memory, bytes."""

    halves: tuple[dict[str, int], dict[str, int]]
    total: dict[str, int]
    grown_bytes: int

    def cpu_us_per_event(self) -> float:
        return self.total["cpu_us"] / self.total["events"]


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path, "releases")
    asyncio.run(reset_stores(config))
    return config


def memory_bytes(processes: Processes) -> int:
    status = Path(f"/proc/{processes.running['pricing'].pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


async def try_canaries(config: RunConfig, processes: Processes) -> dict[str, Seen]:
    control = await PricingClient.open(config.host, config.pricing_port)
    seen, taken = {}, 0
    for session, name in enumerate(CANARIES, 1):
        await control.set_weights({"stable": 0.8, name: 0.2})
        memory, told = memory_bytes(processes), []
        for half in range(2):
            events = make_events(HALF_EVENTS, 1 + half * HALF_EVENTS, session=session)
            await produce(config, events, frame_events=10, rate_eps=8_000)
            taken += HALF_EVENTS
            await until_taken(config, taken)
            told.append((await control.status())["releases"][name])
        second = {counter: told[1][counter] - told[0][counter] for counter in told[0]}
        seen[name] = Seen((told[0], second), told[1], memory_bytes(processes) - memory)
    await control.set_weights({"stable": 1.0})
    control.close()
    return seen


def test_each_planted_defect_shows_its_fingerprint_and_effects_stay_exactly_once(config: RunConfig) -> None:
    assert set(CANARIES) == set(list_releases(config.releases)) - {"stable"}
    sent = 2 * HALF_EVENTS * len(CANARIES)
    with back_half(config, ("pricing", "fanout", "worker")) as processes:
        seen = asyncio.run(try_canaries(config, processes))
        verdict = asyncio.run(verify_stores(config, sent, within_s=WAIT_S))
        assert verdict.faults == ()
        assert (verdict.lost, verdict.doubled) == (0, 0)
    print({name: (one.total, one.grown_bytes) for name, one in seen.items()})

    good, ordinary_us = seen["good"], seen["good"].cpu_us_per_event()
    assert all(one.total["shadow_checked"] > 0 for one in seen.values())
    assert [name for name, one in seen.items() if one.total["shadow_wrong"]] == ["wrong-price"]
    assert [name for name, one in seen.items() if one.total["errors"]] == ["errors"]
    assert seen["slower"].cpu_us_per_event() > 1.8 * ordinary_us
    tail = seen["tail"].total
    assert tail["job_p99_us"] > 5 * tail["job_p50_us"]
    leaked = seen["leak"].total["jobs"] * 524_288
    assert 0.8 * leaked < seen["leak"].grown_bytes
    assert good.grown_bytes < 0.2 * leaked
    cold, warm = seen["cold-cache"].halves
    assert cold["cpu_us"] / cold["events"] > 2 * warm["cpu_us"] / warm["events"]
    lag = seen["lag"].total
    assert lag["job_p50_us"] > 40_000 > 5 * lag["cpu_us"] / lag["jobs"]

    report: dict[str, Any] = json.loads((config.scratch / "pricing.counters.json").read_text())
    assert report["events"] == sent
    assert report["wrong-price_shadow_wrong"] == seen["wrong-price"].total["shadow_wrong"]
    # What a canary failed, stable priced: the worker tells of those it did not fail.
    by_canaries = sum(one.total["events"] for one in seen.values())
    assert read_log(config.scratch, *WORKER_RELEASES)["canary"].sum() == by_canaries == sent - report["stable_events"]
    assert report["errors_failed_events"] > 0
