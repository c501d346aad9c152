"""The load generator: the schedule is fixed beforehand, and a late message is sent and counted, never skipped."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from live_adapters.delays import DelayCounts
from live_adapters.load import SESSION, MessageSource, Pacer, summarise
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import decode_request
from live_adapters.pipeline.config import RunConfig, read_config, write_config
from live_adapters.pipeline.hoplog import GENERATOR_MESSAGES, HopLog, read_log
from sentra_sim.scenario import load_scenario, parse_scenario, scenario_data, with_load
from sentra_sim.scenario.arrivals import draw_offered
from sentra_sim.units import NS_PER_S

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
EPOCH_NS = 5 * NS_PER_S
SECONDS = 0.1


class Clock:
    """A clock that only sleeping moves, and a stall when told."""

    def __init__(self) -> None:
        self.now_ns = EPOCH_NS - 1_000
        self.stalls: dict[int, int] = {}
        self.sleeps = 0

    def read(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S) + self.stalls.pop(self.sleeps, 0)
        self.sleeps += 1


def make_config(scratch: Path, arrivals: str = "constant") -> RunConfig:
    data = scenario_data(with_load(load_scenario(SCENARIO), rate_eps=10_000.0, arrivals=arrivals))
    data["load"]["tick_s"] = 0.002
    scenario = parse_scenario(data)
    addresses = {"kafka": "", "postgres_dsn": "", "redis_host": "", "clickhouse_host": ""}
    ports = dict.fromkeys(
        ("redis_port", "clickhouse_port", "gateway_port", "pricing_port", "fanout_port", "fanout_ingest_port"), 1
    )
    return RunConfig(
        scenario=scenario,
        seed=3,
        warmup_s=0.02,
        load_s=SECONDS,
        topic="t",
        scratch=scratch,
        **addresses,  # type: ignore[arg-type]
        **ports,  # type: ignore[arg-type]
    )


def make_pacer(config: RunConfig, clock: Clock, stopping: Callable[[], bool] = lambda: False) -> Pacer:
    source = MessageSource(config.scenario.load, config.load_s, EPOCH_NS, config.seed)
    log = HopLog(config.scratch, *GENERATOR_MESSAGES)
    window_ns = EPOCH_NS + round(config.warmup_s * NS_PER_S)
    return Pacer(source, log, stopping, window_ns, clock=clock.read, sleep=clock.sleep)


def logged(config: RunConfig) -> NDArray[np.void]:
    return read_log(config.scratch, *GENERATOR_MESSAGES)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_messages_carry_the_drawn_events_with_their_intended_times(tmp_path: Path, arrivals: str) -> None:
    config = make_config(tmp_path, arrivals)
    pacer = make_pacer(config, Clock())
    messages = [decode_request(message)[0] for message in pacer.messages()]
    events = np.concatenate(messages)
    offered = draw_offered(config.scenario.load, SECONDS, config.seed)
    assert len(messages) == len(offered.send_s)
    assert events["sequence"].tolist() == list(range(1, len(offered.keys) + 1))
    assert set(events["session"].tolist()) == {SESSION}
    np.testing.assert_array_equal(events["key"], offered.keys)
    np.testing.assert_array_equal(events["tenant"], offered.keys % config.scenario.load.tenants)
    np.testing.assert_allclose(events["intended_ns"], EPOCH_NS + offered.intended_s * NS_PER_S, atol=1)
    assert np.isfinite(events["quantity"]).all()
    assert (events["limit_price"] > 0).all()


def test_each_message_leaves_when_it_is_due(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert sum(1 for _ in make_pacer(config, Clock()).messages()) == 51
    np.testing.assert_allclose(logged(config)["sent"], logged(config)["due"], atol=1)


def test_after_a_stall_everything_missed_is_sent_at_once_and_counted_as_late(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    clock = Clock()
    clock.stalls[20] = 21_000_000  # 21 ms, ten ticks and a half, within the window
    pacer = make_pacer(config, clock)
    events = sum(len(decode_request(message)[0]) for message in pacer.messages())
    assert events == 1_000
    late_ms = (logged(config)["sent"] - logged(config)["due"]) / 1e6
    assert (late_ms > 0.5).sum() == 11
    assert late_ms.max() == pytest.approx(21.0, abs=0.01)
    summary = summarise(config, pacer, EPOCH_NS, events_pb2.IngestSummary(received_events=1_000, acked_events=1_000))
    assert (summary.sent_events, summary.acked_events, summary.offered_events) == (1_000, 1_000, 800)
    assert summary.lateness_max_s == pytest.approx(0.021, abs=1e-5)
    # An event waits for its tick of 2 ms too: 0 to 1.9 ms at ten events a millisecond.
    assert summary.send_delay_p99_s == pytest.approx(0.021, abs=0.002)
    assert summary.send_delay_p50_s == pytest.approx(0.001, abs=0.001)


def test_the_hop_log_holds_every_message(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    list(make_pacer(config, Clock()).messages())
    offered = draw_offered(config.scenario.load, SECONDS, config.seed)
    np.testing.assert_allclose(logged(config)["due"], EPOCH_NS + offered.send_s * NS_PER_S, atol=1)
    assert logged(config)["events"].sum() == 1_000


def test_asked_to_stop_it_ends_with_what_is_sent(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    clock = Clock()
    pacer = make_pacer(config, clock, stopping=lambda: clock.now_ns > EPOCH_NS + 50_000_000)
    sent = sum(len(decode_request(message)[0]) for message in pacer.messages())
    assert 480 <= sent <= 520
    assert summarise(config, pacer, EPOCH_NS, events_pb2.IngestSummary()).sent_events == sent


def test_a_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert read_config(write_config(config)) == config


def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    config = replace(make_config(tmp_path, "poisson"), load_s=30.0)
    pacer = make_pacer(config, Clock())
    tracemalloc.start()
    sent = sum(1 for _ in pacer.messages())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent == pytest.approx(15_000, rel=0.01)
    assert pacer.sent_events == pytest.approx(300_000, rel=0.01)
    assert peak_bytes < 8e6  # the events alone have 64 bytes each


def test_delays_are_counted_to_a_thousandth_and_the_longest_exactly() -> None:
    delays_ns = np.random.default_rng(4).lognormal(14.0, 2.0, 50_000).astype(np.int64)
    counts = DelayCounts()
    assert (counts.quantile_s(0.5), counts.longest_s) == (None, None)
    for part in np.array_split(delays_ns, 7):
        counts.add(part)
    for q in (0.0, 0.01, 0.5, 0.99, 1.0):
        assert counts.quantile_s(q) == pytest.approx(np.quantile(delays_ns, q, method="nearest") / NS_PER_S, rel=1e-3)
    assert counts.longest_s == delays_ns.max() / NS_PER_S


def test_a_message_sent_before_its_time_has_no_delay() -> None:
    counts = DelayCounts()
    counts.add(np.array([-5, 0, 3]))
    assert counts.quantile_s(0.5) == 0.0
