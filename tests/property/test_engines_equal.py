"""The compiled engine against the reference engine: the same plan gives the same run, whatever the pipeline."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.scenario import Scenario, hop_edges, processes
from tests.counted import assert_counted
from tests.pipelines import BARE, bare, sentra
from tests.property import vary_hosts
from tests.property.vary_arrivals import vary_arrivals
from tests.property.vary_edge import vary_edge
from tests.property.vary_fetches import vary_fetches
from tests.property.vary_group import vary_group
from tests.property.vary_lanes import vary_lanes
from tests.property.vary_lifecycle import vary_lifecycle
from tests.property.vary_log import vary_log
from tests.property.vary_pressure import vary_pressure
from tests.property.vary_stores import store_changes, vary_stores

UNEVEN = {
    "job_s": 1e-4,
    "event_s": 5e-7,
    "frame_s": 1e-5,
    "cold_s": 2e-4,
    "noise": {"dist": "lognormal", "cv": 1.0},
}
EMPIRICAL = {"mean_s": 1e-3, "noise": {"dist": "quantiles", "quantiles": [0.1, 0.5, 0.9, 1.1, 2.4]}}
FREE = {
    f"stations.{station}.{part}": {}
    for station, parts in {
        "generator": ["send"],
        "gateway": ["network", "receive", "close"],
        "kafka": ["append", "replicate", "replication", "fetch"],
        "worker": ["fetch", "process"],
        "pricing": ["demand", "delay"],
        "postgres": ["demand", "delay"],
        "redis": ["demand", "delay"],
        "clickhouse": ["demand"],
        "fanout": ["send", "network", "receive"],
    }.items()
    for part in parts
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "Poisson arrivals": {"load.arrivals": "poisson"},
    "few events, each by itself": {"load.rate_eps": 700.0, "load.tick_s": 0.0},
    "too much load": {"load.rate_eps": 150_000.0},
    "processor sharing": {"hosts.box.discipline": "ps"},
    "processor sharing, too much load": {"hosts.box.discipline": "ps", "load.rate_eps": 150_000.0},
    "one core": {"hosts.box.cores": 1, "load.rate_eps": 20_000.0},
    "acknowledged by the leader": {"stations.kafka.acks": "leader"},
    "two workers, more threads": {
        "stations.worker.replicas": 2,
        "stations.postgres.threads": 2,
        "stations.kafka.threads": 3,
        "stations.kafka.in_flight": 3,
    },
    "uneven demands and delays": {
        "stations.gateway.close": UNEVEN,
        "stations.worker.process": UNEVEN,
        "stations.kafka.append": UNEVEN,
        "stations.kafka.replication": EMPIRICAL,
    },
    "all at once": FREE,
    "all at once, shared": FREE | {"hosts.box.discipline": "ps"},
    "no linger": {"stations.gateway.linger_s": 0.0},
    "low priority upstream": {
        "stations.worker.low_priority": True,
        "stations.pricing.low_priority": True,
        "load.rate_eps": 80_000.0,
    },
    "low priority, shared": {
        "stations.worker.low_priority": True,
        "stations.pricing.low_priority": True,
        "hosts.box.discipline": "ps",
    },
    "a called store that flushes": {"stations.redis.flush_s": 0.01},
    "a slow flush": {"stations.clickhouse.flush_s": 3.0, "stations.clickhouse.delay": {"mean_s": 0.5}},
    "hardly an event": {"load.rate_eps": 0.5},
    "no event": {"load.rate_eps": 1e-6, "load.arrivals": "poisson"},
}


def assert_equal(one: Trace, other: Trace) -> None:
    for field in fields(Trace):
        found, expected = getattr(one, field.name), getattr(other, field.name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=field.name, strict=True)


def play_both(scenario: Scenario, *, seconds: float, seed: int, changes: Sequence[Change] = ()) -> Trace:
    plan = prepare(scenario, seconds=seconds, seed=seed)
    trace = run(plan, changes=changes)
    assert_equal(trace, run(plan, engine="reference", changes=changes))
    assert_counted(scenario, trace, seconds=seconds, seed=seed, changes=changes)
    return trace


CHANGES: dict[str, list[Change]] = {
    "a slower release and back": [Change(0.3, "demand", "pricing", 3.3), Change(0.7, "demand", "pricing", 1.0)],
    "two at one moment, one at the start": [
        Change(0.5, "demand", "postgres", 0.1),
        Change(0.5, "demand", "kafka", 1.7),
        Change(0.0, "demand", "generator", 2.0),
    ],
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_change_on_the_way_is_the_same_in_both_engines(changes: list[Change]) -> None:
    plain = play_both(sentra({}), seconds=1.0, seed=3)
    changed = play_both(sentra({}), seconds=1.0, seed=3, changes=changes)
    assert not np.array_equal(plain.cpu_s, changed.cpu_s)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_sentra_is_the_same_in_both_engines(changes: dict[str, Any]) -> None:
    play_both(sentra(changes), seconds=1.0, seed=3)


def test_a_pipeline_that_never_catches_up_ends_the_same_way() -> None:
    """One event a second too many for the log: the run is cut off, with jobs on cores and frames under way."""
    for discipline in ("fifo-slice", "ps"):
        changes = {
            "load.rate_eps": 100.0,
            "stations.log.host": "box",
            "stations.log.append": {"job_s": 0.5},
            "hosts.box.discipline": discipline,
        }
        trace = play_both(bare(changes), seconds=2.0, seed=1)
        assert np.isnan(trace.hops_s).any()
        assert trace.cpu_s.sum() == pytest.approx(12.0, abs=0.02)  # the box was busy until the cap at 2 s + 10 s


def test_polls_that_become_visible_together_are_taken_in_the_same_order() -> None:
    """A flush hands several polls at once to two stations on one core: who of their threads runs first is a tie."""
    behind = {"kind": "pool", "host": "box", "demand": {"job_s": 2e-3}}
    changes = {
        "load.rate_eps": 50.0,
        "hosts.box": {"cores": 1, "slice_s": 1e-4},
        "stations.log.partitions": 2,
        "stations.group.replicas": 2,
        "stations.group.max_poll_events": 1,
        "stations.group.calls": ["store"],
        "stations.store": {"kind": "store", "host": "box", "flush_s": 0.1, "hop": "stored", "to": ["one", "two"]},
        "stations.one": behind | {"threads": 2, "hop": "first"},
        "stations.two": behind | {"hop": "second", "demand": {}},
    }
    play_both(bare(changes), seconds=1.0, seed=1)


noises = st.one_of(
    st.just({"dist": "constant"}),
    st.just({"dist": "exponential"}),
    st.builds(lambda cv: {"dist": "lognormal", "cv": cv}, st.floats(0.0, 3.0)),
    st.builds(
        lambda values: {"dist": "quantiles", "quantiles": sorted(values)},
        st.lists(st.floats(0.0, 4.0), min_size=2, max_size=6),
    ),
)
small_s = st.one_of(st.just(0.0), st.floats(1e-6, 2e-3), st.sampled_from([1e-3, 2e-3]))
demands = st.fixed_dictionaries(
    {"job_s": small_s, "noise": noises},
    optional={
        "frame_s": st.floats(0.0, 1e-3),
        "event_s": st.floats(0.0, 2e-4),
        "cold_s": st.floats(0.0, 1e-3),
        "cold_tau_s": st.floats(1e-4, 1.0),
    },
)
delays = st.fixed_dictionaries({"mean_s": small_s, "noise": noises})
hosts = st.sampled_from(["a", "b"])
common = {"host": hosts, "low_priority": st.booleans()}
backgrounds = st.lists(st.fixed_dictionaries({"every_s": st.floats(0.005, 0.2), "demand": demands}), max_size=2)


@st.composite
def stations(draw: st.DrawFn) -> dict[str, Any]:
    brokers = draw(st.integers(1, 3))
    factor = draw(st.integers(1, brokers))
    log = {
        "kind": "log",
        "partitions": draw(st.integers(1, 5)),
        "brokers": brokers,
        "replication_factor": factor,
        "min_insync_replicas": draw(st.integers(1, factor)),
        "threads": draw(st.integers(1, 3)),
        "in_flight": draw(st.integers(1, 3)),
        "to": "group",
    }
    vary_log(draw, log)
    count = draw(st.integers(0, 4))
    parents = [draw(st.integers(-1, number - 1)) for number in range(count)]  # -1: called by the group
    names = [f"s{number}" for number in range(count)]
    children = {
        at: tuple(name for name, parent in zip(names, parents, strict=True) if parent == at) for at in range(-1, count)
    }
    built: dict[str, Any] = {
        "source": {"kind": "source", "send": draw(demands), "to": "batcher"},
        "batcher": {
            "kind": "batcher",
            "network": draw(delays),
            "receive": draw(demands),
            "timer": draw(delays),
            "close": draw(demands),
            "max_events": draw(st.integers(1, 20)),
            "linger_s": draw(st.sampled_from([0.0, 0.001, 0.01])),
            "to": "log",
        },
        "log": log
        | {part: draw(demands) for part in ("append", "replicate")}
        | {part: draw(delays) for part in ("replication", "fetch")},
        "group": {
            "kind": "consumer_group",
            "replicas": draw(st.integers(1, 3)),
            "max_poll_events": draw(st.integers(1, 50)),
            "gather_s": draw(st.sampled_from([0.0, 0.002])),
            "fetch": draw(demands),
            "process": draw(demands),
            "finish": draw(demands),
            "calls": children[-1],
        },
    }
    for number, name in enumerate(names):
        built[name] = {
            "kind": draw(st.sampled_from(["pool", "store"])),
            "threads": draw(st.integers(1, 3)),
            "demand": draw(demands),
            "delay": draw(delays),
            "hop": f"hop_{name}",
            "to": children[number],
        }
        if built[name]["kind"] == "store":
            built[name]["flush_s"] = draw(st.sampled_from([0.0, 0.01, 0.1]))
        if not children[number] and parents[number] >= 0 and draw(st.booleans()):
            built[name] = {
                "kind": "broadcast",
                "subscriber_host": draw(hosts),
                "send": draw(demands),
                "network": draw(delays),
                "receive": draw(demands),
                "hops": [f"sent_{name}", f"delivered_{name}"],
            }
    vary_group(draw, built)
    vary_lifecycle(draw, built)
    vary_stores(draw, built, demands, delays)
    vary_edge(draw, built, demands)
    return {
        name: station | {key: draw(value) for key, value in common.items()} | {"background": draw(backgrounds)}
        for name, station in built.items()
    }


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    host = st.fixed_dictionaries(
        {
            "cores": st.integers(1, 3),
            "discipline": st.sampled_from(["ps", "fifo-slice"]),
            "slice_s": st.sampled_from([1e-4, 1e-3, 1.0]),
            "speed": st.sampled_from([0.5, 1.0, 1.7]),
        }
    )
    changes = {
        "load.rate_eps": draw(st.sampled_from([50.0, 400.0, 1000.0])),
        "load.arrivals": draw(st.sampled_from(["constant", "poisson"])),
        "load.tick_s": draw(st.sampled_from([0.0, 0.002, 0.01])),
        "hosts": {"a": draw(host), "b": draw(host)},
        "stations": draw(stations()),
    }
    vary_hosts.vary(draw, changes)
    vary_arrivals(draw, changes)
    vary_pressure(draw, changes["stations"])
    vary_fetches(draw, changes)
    vary_lanes(draw, changes)
    return bare(changes)


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios(), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_pipeline_is_the_same_in_both_engines_and_keeps_its_books(
    scenario: Scenario, seed: int, data: st.DataObject
) -> None:
    trace = play_both(scenario, seconds=0.3, seed=seed, changes=data.draw(store_changes(scenario)))
    _check_conservation(trace)
    _check_order(scenario, trace)
    assert (trace.cpu_s >= 0.0).all()
    cores = np.array([host.cores for host in scenario.hosts.values()])
    assert (trace.host_busy_s <= cores[:, None] + 1e-9).all()


def _check_conservation(trace: Trace) -> None:
    taken = trace.frame[trace.frame >= 0]
    np.testing.assert_array_equal(np.bincount(taken, minlength=len(trace.events)), trace.events)
    assert (trace.events + trace.repeats > 0).all()


def _check_order(scenario: Scenario, trace: Trace) -> None:
    edges = hop_edges(scenario)
    column = {edge.hop: number for number, edge in enumerate(edges)}
    for edge in edges[1:]:
        before, here = trace.hops_s[:, column[edge.after]], trace.hops_s[:, column[edge.hop]]
        assert not np.isnan(before[~np.isnan(here)]).any(), f"{edge.hop} without {edge.after}"
        assert (here >= before)[~np.isnan(here)].all(), f"{edge.hop} before {edge.after}"


def test_cpu_is_the_sum_of_all_demands() -> None:
    """Without noise and cold terms the CPU of a station follows from the counts of its jobs, frames and events."""
    job, frame, event = 100e-6, 10e-6, 0.5e-6
    demand = {"job_s": job, "frame_s": frame, "event_s": event}
    scenario = sentra(
        {
            f"stations.{place}": demand
            for place in ("generator.send", "gateway.receive", "gateway.close", "worker.fetch")
        }
        | {
            f"stations.{place}": demand
            for place in ("worker.process", "worker.finish", "kafka.append", "kafka.replicate", "postgres.demand")
        }
        | {"stations.kafka.background": [], "stations.worker.background": [], "stations.postgres.background": []}
        | {"stations.gateway.background": [], "stations.generator.background": []}
    )
    plan = prepare(scenario, seconds=2.0, seed=7)
    trace = run(plan)
    frames, events, messages, polls = (
        len(trace.events),
        len(trace.frame),
        len(plan.offered.send_s),
        trace.poll.max() + 1,
    )
    closings = len(np.unique(trace.hops_s[:, 1]))  # what closes at the same moment is one job
    busy = dict(zip(processes(scenario), trace.cpu_s.sum(axis=1), strict=True))
    assert busy["generator"] == pytest.approx(messages * (job + frame) + events * event, rel=1e-9)
    assert busy["gateway"] == pytest.approx(
        messages * (job + frame) + closings * job + frames * frame + 2 * events * event, rel=1e-9
    )
    assert busy["worker"] == pytest.approx(3 * (polls * job + frames * frame + events * event), rel=1e-9)
    assert busy["postgres"] == pytest.approx(polls * job + frames * frame + events * event, rel=1e-9)
    # Frames of one leader that are acknowledged at the same moment went in one request; three brokers work on each.
    requests = len(np.unique(np.stack([trace.hops_s[:, 2], trace.partition % 3], axis=1), axis=0))
    kafka = sum(busy[f"kafka-{number}"] for number in (1, 2, 3))
    assert kafka == pytest.approx(3 * (requests * job + frames * frame + events * event), rel=1e-9)
    assert trace.host_busy_s.sum() == pytest.approx(trace.cpu_s.sum(), rel=1e-12)


def test_more_load_never_means_a_shorter_wait() -> None:
    """The same jobs, offered faster, each wait at least as long: one thread, one core, in order of arrival."""
    waits = []
    for rate in (200.0, 400.0, 600.0):
        changes = {
            "load.rate_eps": rate,
            "load.arrivals": "poisson",
            "stations.batcher.host": "box",
            "stations.batcher.receive": {"job_s": 1e-3, "noise": {"dist": "lognormal", "cv": 1.0}},
        }
        plan = prepare(bare(changes), seconds=5.0, seed=5)
        waits.append(run(plan).hops_s[:900, 0] - plan.offered.intended_s[:900])
    assert (waits[0] <= waits[1] + 1e-12).all()
    assert (waits[1] <= waits[2] + 1e-12).all()
    assert waits[0].mean() < waits[2].mean()


def test_the_bare_pipeline_is_instant() -> None:
    """The base of the other tests costs nothing by itself."""
    plan = prepare(bare(), seconds=2.0, seed=1)
    trace = play_both(bare(), seconds=2.0, seed=1)
    np.testing.assert_allclose(trace.hops_s, np.tile(plan.offered.intended_s[:, None], (1, 4)), atol=1e-12)
    assert BARE["load"]["rate_eps"] * 2.0 == len(trace.events)


@pytest.mark.parametrize("linger_s", [0.0, 0.004, 0.05])
def test_many_partitions_and_many_things_at_one_moment_are_the_same_in_both_engines(linger_s: float) -> None:
    """A message of 2,000 events every 100 ms for 500 partitions: frames by size and by linger, and full tables."""
    changes = {
        "load": {"rate_eps": 20_000.0, "tick_s": 0.1, "keys": 5_000, "key_skew": 0.8},
        "stations.log.partitions": 500,
        "stations.log.brokers": 5,
        "stations.batcher.max_events": 7,
        "stations.batcher.linger_s": linger_s,
        "stations.group.replicas": 8,
        "stations.group.process": {"job_s": 1e-4, "noise": {"dist": "exponential"}},
    }
    trace = play_both(bare(changes), seconds=0.5, seed=1)
    _check_conservation(trace)
    assert len(trace.events) > 1_400
