"""Simple queues found inside a pipeline, and their sojourn times."""

from typing import Any

import numpy as np

from sentra_sim.engine import prepare, run
from sentra_sim.scenario import Scenario
from sentra_sim.stats import Interval, replication_interval
from tests.pipelines import bare, event_times

RATE_EPS = 1_000.0
WARMUP = 0.2  # fraction of a run that is left out
CONFIDENCE = 0.999  # seeds are fixed: this only says how unlucky a choice of seeds a test forgives


def receive_queue(utilisation: float, noise: dict[str, Any], **host: Any) -> Scenario:
    """The batcher's thread as M/G/1: every event is a message; its receive job is the service."""
    return bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": 1} | host,
            "stations.batcher.host": "box",
            "stations.batcher.receive": {"job_s": utilisation / RATE_EPS, "noise": noise},
        }
    )


def append_queue(utilisation: float, noise: dict[str, Any], *, threads: int, cores: int, **host: Any) -> Scenario:
    """The log's threads as a queue with several servers: every event is a frame and, with any number in flight, a request."""
    return bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": cores} | host,
            "stations.log.host": "box",
            "stations.log.threads": threads,
            "stations.log.append": {"job_s": utilisation * cores / RATE_EPS, "noise": noise},
        }
    )


def sojourns(scenario: Scenario, hop: str, *, seed: int, seconds: float = 40.0) -> np.ndarray:
    """Returns the time from each event's arrival to a hop, without those of the warm-up, in seconds."""
    plan = prepare(scenario, seconds=seconds, seed=seed)
    arrived = plan.offered.intended_s
    times = event_times(scenario, run(plan), hop) - arrived
    return times[arrived >= WARMUP * seconds]


def mean_sojourn(scenario: Scenario, hop: str, *, replications: int = 30) -> Interval:
    """Returns the mean sojourn time with its interval over independent runs."""
    means = [sojourns(scenario, hop, seed=seed).mean() for seed in range(replications)]
    return replication_interval(np.array(means), confidence=CONFIDENCE)


def quantile_sojourn(scenario: Scenario, hop: str, q: float, *, replications: int = 30) -> Interval:
    """Returns a quantile of the sojourn time with its interval over independent runs."""
    quantiles = [np.quantile(sojourns(scenario, hop, seed=seed), q) for seed in range(replications)]
    return replication_interval(np.array(quantiles), confidence=CONFIDENCE)


def assert_holds(interval: Interval, truth: float, *, precision: float = 0.05) -> None:
    """Asserts that an interval holds the closed form's value, and is narrow enough for that to mean something."""
    assert interval.half_width <= precision * truth, f"{interval} is too wide to tell anything about {truth}"
    assert interval.covers(truth), f"{interval} does not hold {truth}"
