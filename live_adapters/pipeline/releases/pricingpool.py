"""The pricing pool: routes each request's events to stable or the canary, checks the canary in the shadow, counts by release."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.hoplog import JOBS, RELEASE_JOBS, HopLog
from live_adapters.pipeline.releases.candidate import Candidate, Order
from live_adapters.pipeline.releases.pricingwire import BY_CANARY, BY_STABLE, FAILED, Priced, unpack_order
from live_adapters.pipeline.releases.releases import STABLE, STABLE_NAME, load_release
from live_adapters.pipeline.releases.routing import canary_of, goes_to_canary
from live_adapters.pipeline.releases.tally import Job, Tally
from live_adapters.pipeline.releases.valuation import Floats, price_events
from sentra_sim.rng import stream
from sentra_sim.units import NS_PER_S

SHADOW_SHARE = 0.1  # of the canary's events that stable prices too
TOLERANCE = 1e-9  # relative: a rewrite may round another way

Answer = Callable[[Priced], None]


@dataclass(frozen=True)
class Route:
    """The canary in service and its weight."""

    candidate: Candidate
    weight: float


class Done(NamedTuple):
    """A request worked on: its answer, the jobs it consisted of, and how long the answer waits."""

    priced: Priced
    jobs: tuple[Job, ...]
    start_ns: int
    end_ns: int
    cpu_ns: int
    wait_s: float = 0.0


class PricingPool:
    """Prices requests on `threads` threads; with one, on the event loop itself.

    `weights` maps releases to their shares of the keys. A release's state begins when it first gets weight, and is kept.
    """

    def __init__(self, threads: int, jobs: HopLog, release_jobs: HopLog, folder: Path) -> None:
        self._jobs, self._release_jobs, self._folder = jobs, release_jobs, folder
        self._threads = ThreadPoolExecutor(threads) if threads > 1 else None
        self._candidates: dict[str, Candidate] = {}
        self._route: Route | None = None
        self._shadow_rng = stream(STABLE.seed, STABLE_NAME, "shadow")
        self.weights: dict[str, float] = {STABLE_NAME: 1.0}
        self.tallies = {STABLE_NAME: Tally()}
        self.events = 0

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Routes the requests that come from now on by these weights; a release not named has none.

        Raises:
            InputError: the weights break a rule or name no release; those before stay in force.
        """
        name, weight = canary_of(weights)
        new = [load_release(self._folder, release) for release in weights if release not in self.tallies]
        for release in new:
            self._candidates[release.name], self.tallies[release.name] = Candidate(release), Tally()
        self._route = Route(self._candidates[name], weight) if name else None
        self.weights = dict(weights)

    def submit(self, frames: int, body: bytes, answer: Answer, *, stable_only: bool = False) -> None:
        """Prices a request and hands the answer on; `stable_only` leaves the canary out."""
        route = None if stable_only else self._route
        if self._threads is None:
            self._finish(frames, answer, self._work(body, route))
            return
        working = asyncio.get_running_loop().run_in_executor(self._threads, self._work, body, route)
        working.add_done_callback(lambda done: self._finish(frames, answer, done.result()))

    def _work(self, body: bytes, route: Route | None) -> Done:
        order = unpack_order(body)
        if route is None:
            return _stable_alone(order)
        start, cpu = time.monotonic_ns(), time.thread_time_ns()
        to_canary = goes_to_canary(order.keys, route.weight)
        mine, others = np.flatnonzero(to_canary), np.flatnonzero(~to_canary)
        if not len(mine):
            return _stable_alone(order)
        prices, origin = np.empty(len(order)), np.full(len(order), BY_STABLE, dtype=np.uint8)
        done = _stable_alone(order.take(others))
        prices[others] = done.priced.prices
        canary_prices, job = self._try_canary(route.candidate, order.take(mine))
        prices[mine] = np.nan if canary_prices is None else canary_prices
        origin[mine] = FAILED if canary_prices is None else BY_CANARY
        return Done(
            priced=Priced(prices, origin, job.error),
            jobs=(*done.jobs, job) if len(others) else (job,),
            start_ns=start,
            end_ns=time.monotonic_ns(),
            cpu_ns=time.thread_time_ns() - cpu,
            wait_s=route.candidate.wait_s,
        )

    def _try_canary(self, candidate: Candidate, order: Order) -> tuple[Floats | None, Job]:
        start, cpu = time.monotonic_ns(), time.thread_time_ns()
        prices, error = None, ""
        try:
            prices = candidate.price(order)
        except Exception as failure:  # whatever a release under trial does, it must not take the service with it
            error = str(failure) or repr(failure)
        duration_ns = time.monotonic_ns() - start + round(candidate.wait_s * NS_PER_S)
        job = Job(candidate.release.name, len(order), duration_ns, time.thread_time_ns() - cpu, error)
        if prices is None:
            return None, job
        checked, wrong = self._check(order, prices)  # after the clock was read: its CPU is not the release's
        return prices, job._replace(checked=checked, wrong=wrong)

    def _check(self, order: Order, prices: Floats) -> tuple[int, int]:
        """Prices a share of the events as stable does; returns how many, and how many of them differ."""
        sample: NDArray[np.intp] = np.flatnonzero(self._shadow_rng.random(len(order)) < SHADOW_SHARE)
        chosen = order.take(sample)
        expected = price_events(chosen.keys, chosen.quantities, chosen.limit_prices)
        return len(sample), int((~np.isclose(prices[sample], expected, rtol=TOLERANCE, atol=0.0)).sum())

    def _finish(self, frames: int, answer: Answer, done: Done) -> None:
        if done.wait_s:
            asyncio.get_running_loop().call_later(done.wait_s, answer, done.priced)
        else:
            answer(done.priced)
        events = len(done.priced.prices)
        self.events += events - sum(job.events for job in done.jobs if job.error)
        self._jobs.append(np.array([(done.start_ns, done.end_ns, done.cpu_ns, frames, events)], dtype=JOBS))
        for job in done.jobs:
            self.tallies[job.release].add(job)
        if done.priced.origin is not None:
            rows = [_row(job, done.end_ns) for job in done.jobs]
            self._release_jobs.append(np.array(rows, dtype=RELEASE_JOBS))


def _stable_alone(order: Order) -> Done:
    start, cpu = time.monotonic_ns(), time.thread_time_ns()
    prices = price_events(order.keys, order.quantities, order.limit_prices)
    end, cpu_ns = time.monotonic_ns(), time.thread_time_ns() - cpu
    return Done(Priced(prices), (Job(STABLE_NAME, len(prices), end - start, cpu_ns),), start, end, cpu_ns)


def _row(job: Job, at: int) -> tuple[int, bool, int, bool, int, int, int, int]:
    canary = job.release != STABLE_NAME
    return at, canary, job.events, bool(job.error), job.checked, job.wrong, job.cpu_ns, job.duration_ns
