"""Releases: manifests that say what they mean, keys that stay with their release, defects that show, a service that survives them."""

import asyncio
import doctest
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from live_adapters.measurable import PORTS
from live_adapters.pipeline.config import RELEASES, configure, read_config
from live_adapters.pipeline.consumer.poll import PIECE, Poll, released
from live_adapters.pipeline.hoplog import JOBS, PRICING_RELEASES, HopLog, read_log
from live_adapters.pipeline.pricing import PricingProtocol
from live_adapters.pipeline.releases import candidate as candidate_module
from live_adapters.pipeline.releases import routing
from live_adapters.pipeline.releases.candidate import Candidate, Order
from live_adapters.pipeline.releases.pricingclient import PricingClient
from live_adapters.pipeline.releases.pricingpool import SHADOW_SHARE, PricingPool
from live_adapters.pipeline.releases.pricingwire import ANSWER, REQUEST, Priced, pack_answer, pack_order, unpack_split
from live_adapters.pipeline.releases.releases import CHANGES, STABLE, list_releases, load_release, parse_release
from live_adapters.pipeline.releases.routing import canary_of, goes_to_canary
from live_adapters.pipeline.releases.tally import LAST_JOBS, Job, Tally
from live_adapters.pipeline.releases.valuation import price_events
from sentra_sim.errors import InputError, PlantError
from sentra_sim.scenario import load_scenario
from sentra_sim.scenario.keys import partition_of

KEYS = np.arange(20_000, dtype=np.uint32)
SLOWER = {"name": "slower", "version": "1.0.0", "description": "d", "change": {"kind": "slower", "factor": 2.0}}


def make_order(count: int = 1000, seed: int = 1) -> Order:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 500, count).astype(np.uint32)
    return Order(keys, 1.0 + rng.random(count), 100.0 + rng.standard_normal(count))


def value(order: Order) -> np.ndarray:
    return price_events(order.keys, order.quantities, order.limit_prices)


def shipped(name: str) -> Candidate:
    return Candidate(load_release(RELEASES, name))


# Manifests


def test_every_kind_of_change_is_shipped_as_a_release_that_can_be_read() -> None:
    releases = [load_release(RELEASES, name) for name in list_releases(RELEASES)]
    assert {release.change.kind for release in releases} == set(CHANGES)
    assert load_release(RELEASES, "stable") == STABLE


def test_the_page_on_releases_says_what_is_shipped() -> None:
    page = (RELEASES.parents[1] / "docs" / "releases.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert parse_release(yaml.safe_load(example)) == load_release(RELEASES, "slower")
    rows = re.findall(r"^\| (`.*`) \|(.*)\|$", page, flags=re.MULTILINE)
    named = {name for cell, _ in rows for name in re.findall(r"`([a-z-]+)`", cell)}
    assert named == {*list_releases(RELEASES), *CHANGES} - {"stable"}
    told = {cell: set(re.findall(r"`(\w+)`", keys)) for cell, keys in rows if keys.count("|") == 0}
    for kind in CHANGES.keys() - {"none", "rewrite"}:
        assert told[f"`{kind}`"] == CHANGES[kind].model_fields.keys() - {"kind", "chunk_events"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"descripton": "d"}, "release.yaml: descripton: unknown key; did you mean 'description'?"),
        ({"change": {"kind": "slower", "factr": 2}}, "release.yaml: change.factr: unknown key; did you mean 'factor'?"),
        ({"change": {"kind": "slower"}}, "release.yaml: change.factor: missing; add it"),
        ({"change": {"kind": "slowr"}}, "release.yaml: change.kind: must be one of none, .*did you mean 'slower'"),
        ({"change": {}}, "release.yaml: change.kind: must be one of none, .*got None"),
        ({"change": {"kind": "slower", "factor": 0.5}}, "change.factor: must be greater than or equal to 1, got 0.5"),
        ({"version": "two"}, r"version: must match \S+, got 'two'; mend the value"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_release(SLOWER | change)
    assert "\n" not in str(caught.value)


def test_a_release_that_is_not_there_or_bears_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 'slowr'; did you mean 'slower'"):
        load_release(RELEASES, "slowr")
    manifest = tmp_path / "fast" / "release.yaml"
    manifest.parent.mkdir()
    manifest.write_text((RELEASES / "slower" / "release.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="name: must be the folder's, got 'slower'; write 'fast'"):
        load_release(tmp_path, "fast")
    manifest.write_text("a: [", encoding="utf-8")
    with pytest.raises(InputError, match=r"release.yaml line 1: must be YAML, .*; mend the line"):
        load_release(tmp_path, "fast")


# Routing


def test_a_higher_weight_only_moves_keys_from_stable_to_the_canary() -> None:
    before = np.zeros(len(KEYS), dtype=bool)
    for weight in (0.0, 0.01, 0.2, 0.5, 0.9, 1.0):
        canary = goes_to_canary(KEYS, weight)
        assert canary.mean() == pytest.approx(weight, abs=0.02)
        assert not (before & ~canary).any()
        before = canary


def test_every_partition_sends_its_share_to_the_canary() -> None:
    canary, partition = goes_to_canary(KEYS, 0.2), partition_of(KEYS, 6)
    for number in range(6):
        assert canary[partition == number].mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"slower": 1.0}, "weights: must name stable, got slower; add it"),
        ({"stable": 0.8, "slower": 0.3}, "weights: must add up to 1, got 1.1; mend stable's"),
        ({"stable": 1.2, "slower": -0.2}, "weights: stable: must be from 0 to 1, got 1.2"),
        ({"stable": float("nan")}, "weights: stable: must be from 0 to 1, got nan"),
        ({"stable": True}, "weights: stable: must be from 0 to 1, got True"),
        ({"stable": 0.8, "slower": 0.1, "tail": 0.1}, "must name one canary at a time, got slower, tail"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        canary_of(weights)


def test_a_run_starts_with_the_weights_that_it_was_configured_with(tmp_path: Path) -> None:
    ports = SimpleNamespace(port=1, host="127.0.0.1")
    stack: Any = SimpleNamespace(kafka="", postgres_socket_dsn="", redis_socket="", redis=ports, clickhouse=ports)
    scenario = load_scenario(RELEASES.parent / "scenarios" / "sentra.yaml")
    numbers = dict.fromkeys(PORTS, 1)
    weights = {"stable": 0.9, "good": 0.1}
    config = configure(scenario, stack, numbers, tmp_path, topic="t", release_weights=weights)
    assert read_config(config.file) == config
    assert configure(scenario, stack, numbers, tmp_path, topic="t").release_weights == {"stable": 1.0}


def test_the_example_of_the_routing_is_true() -> None:
    assert doctest.testmod(routing).failed == 0


# Defects, without the service


def count_valued_events(patch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the events that candidates have valued: their CPU, without a clock."""
    counted: Counter[str] = Counter()

    def counting(keys: Any, *rest: Any) -> Any:
        counted["events"] += len(keys)
        return price_events(keys, *rest)

    patch.setattr(candidate_module, "price_events", counting)
    return counted


@pytest.mark.parametrize("name", ["stable", "good", "slower", "tail", "leak", "cold-cache", "lag"])
def test_a_release_without_a_wrong_price_prices_as_stable_does(name: str) -> None:
    order, release = make_order(), shipped(name)
    for _ in range(3):
        assert release.price(order) == pytest.approx(value(order), rel=1e-12)


def test_a_slower_release_works_that_much_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_valued_events(monkeypatch)
    Candidate(parse_release(SLOWER | {"change": {"kind": "slower", "factor": 2.5}})).price(make_order(1000))
    assert counted["events"] == 2500


def test_a_tail_hits_one_job_in_twenty_and_the_same_ones_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_valued_events(monkeypatch)

    def work_of_jobs() -> list[int]:
        release, works = shipped("tail"), []
        for _ in range(400):
            counted.clear()
            release.price(make_order(10))
            works.append(counted["events"])
        return works

    works = work_of_jobs()
    assert set(works) == {10, 250}
    assert 8 <= works.count(250) <= 35
    assert work_of_jobs() == works


def test_a_cold_cache_warms_with_the_events_and_is_cold_again_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_valued_events(monkeypatch)
    for _ in range(2):
        release, works = shipped("cold-cache"), []
        for _ in range(4):
            counted.clear()
            release.price(make_order(400))
            works.append(counted["events"])
        assert works == [4000, 4000, 2200, 400]  # 1,000 events at ten times the work, then none


def test_a_leak_keeps_memory_with_every_request_until_its_bound() -> None:
    change = {"kind": "leak", "request_bytes": 1000, "max_bytes": 2500}
    release = Candidate(parse_release(SLOWER | {"change": change}))
    kept = []
    for _ in range(4):
        release.price(make_order(10))
        kept.append(sum(block.nbytes for block in release._kept))
    assert kept == [1000, 2000, 2000, 2000]


def test_a_release_that_prices_at_no_number_has_failed() -> None:
    order = make_order(10)
    order.limit_prices[3] = np.nan
    with pytest.raises(PlantError, match="good: must price every event, got no number; retry on stable"):
        shipped("good").price(order)


# The service


def serve(
    tmp_path: Path,
    use: Callable[[PricingPool, PricingClient], Awaitable[None]],
    threads: int = 1,
    folder: Path = RELEASES,
) -> None:
    """Runs the service on a socket, as its process does, and a client of it."""
    jobs, release_jobs = HopLog(tmp_path, "pricing", "jobs", JOBS), HopLog(tmp_path, *PRICING_RELEASES)
    pool = PricingPool(threads, jobs, release_jobs, folder)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: PricingProtocol(pool), "127.0.0.1", 0)
        client = await PricingClient.open(*server.sockets[0].getsockname())
        try:
            await use(pool, client)
        finally:
            client.close()
            server.close()

    asyncio.run(main())
    jobs.close()
    release_jobs.close()


async def ask(client: PricingClient, order: Order) -> Priced:
    return await client.price(3, order.keys, order.quantities, order.limit_prices)


def test_without_a_canary_the_bytes_are_those_of_a_single_release(tmp_path: Path) -> None:
    order = make_order()
    expected = ANSWER.pack(7, len(order)) + value(order).tobytes()

    async def use(pool: PricingPool, client: PricingClient) -> None:
        reader, writer = await asyncio.open_connection(*client._transport.get_extra_info("peername"))
        for weights in ({"stable": 1.0}, {"stable": 1.0, "slower": 0.0}):
            await client.set_weights(weights)
            writer.write(REQUEST.pack(7, 3, len(order)) + pack_order(order))
            assert await reader.readexactly(len(expected)) == expected
        writer.close()

    serve(tmp_path, use)
    assert len(read_log(tmp_path, *PRICING_RELEASES)) == 0
    assert read_log(tmp_path, "pricing", "jobs", JOBS)[["frames", "events"]].tolist() == [(3, 1000)] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_an_answer_tells_of_each_event_who_priced_it_and_a_good_release_is_never_wrong(
    tmp_path: Path, threads: int
) -> None:
    order = make_order()

    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.8, "good": 0.2})
        for _ in range(5):
            priced = await ask(client, order)
            assert priced.prices == pytest.approx(value(order), rel=1e-12)
            assert priced.canary is not None
            assert (priced.canary == goes_to_canary(order.keys, 0.2)).all()
        status = await client.status()
        canary_events = 5 * int(goes_to_canary(order.keys, 0.2).sum())
        good, stable = status["releases"]["good"], status["releases"]["stable"]
        assert (good["events"], stable["events"]) == (canary_events, 5000 - canary_events)
        assert good["shadow_checked"] == pytest.approx(SHADOW_SHARE * canary_events, rel=0.5)
        assert (good["shadow_wrong"], good["errors"], good["jobs"]) == (0, 0, 5)
        assert pool.events == 5000

    serve(tmp_path, use, threads)


def test_a_wrong_price_is_caught_in_the_shadow(tmp_path: Path) -> None:
    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.5, "wrong-price": 0.5})
        for seed in range(10):
            await ask(client, make_order(seed=seed))
        counted = (await client.status())["releases"]["wrong-price"]
        assert 0.1 < counted["shadow_wrong"] / counted["shadow_checked"] < 0.3
        assert counted["errors"] == 0

    serve(tmp_path, use)


def test_what_a_release_fails_stable_prices_and_the_failure_is_counted_for_the_release(tmp_path: Path) -> None:
    order = make_order()
    canary_events = int(goes_to_canary(order.keys, 0.2).sum())

    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.8, "errors": 0.2})
        failed = 0
        for _ in range(40):
            priced = await ask(client, order)
            assert (priced.prices == value(order)).all()
            assert priced.canary is not None
            failed += not priced.canary.any()
        counted = (await client.status())["releases"]
        assert 1 <= failed < 40
        assert (counted["errors"]["errors"], counted["errors"]["failed_events"]) == (failed, failed * canary_events)
        assert counted["stable"]["events"] + counted["errors"]["events"] == pool.events == 40 * len(order)
        assert client.failures.total() == failed
        assert "got no volatility for the tenor" in next(iter(client.failures))

    serve(tmp_path, use)
    rows = read_log(tmp_path, *PRICING_RELEASES)
    assert rows["failed"].sum() == rows["failed"][rows["canary"]].sum() > 0


def test_a_release_that_crashes_does_not_take_the_service_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: Candidate, order: Order) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Candidate, "price", crash)

    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.0, "good": 1.0})
        order = make_order(50)
        assert ((await ask(client, order)).prices == value(order)).all()
        assert client.failures == {"ZeroDivisionError()": 1}

    serve(tmp_path, use)


def test_answers_of_a_lagging_release_wait_and_hold_up_nobody_else(tmp_path: Path) -> None:
    an_hour = "{name: lag, version: 1.0.0, description: d, change: {kind: lag, wait_s: 3600}}"
    (tmp_path / "lag").mkdir()
    (tmp_path / "lag" / "release.yaml").write_text(an_hour, encoding="utf-8")

    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.5, "lag": 0.5})
        lagging = asyncio.create_task(ask(client, make_order()))
        await asyncio.sleep(0)  # sends the request
        await client.set_weights({"stable": 1.0})
        await ask(client, make_order(10))
        assert not lagging.done()
        counted = (await client.status())["releases"]["lag"]
        assert counted["job_p50_us"] >= 3_600_000_000 > counted["cpu_us"]
        lagging.cancel()

    serve(tmp_path, use, folder=tmp_path)


def test_refused_weights_leave_those_before_in_force(tmp_path: Path) -> None:
    async def use(pool: PricingPool, client: PricingClient) -> None:
        await client.set_weights({"stable": 0.9, "good": 0.1})
        for weights, message in (
            ({"stable": 0.5, "slowr": 0.5}, "got 'slowr'; did you mean 'slower'"),
            ({"stable": 0.5}, "must add up to 1"),
            ({"stable": 1.0, "tail": 0.0, "nobody": 0.0}, "got 'nobody'"),
        ):
            with pytest.raises(InputError, match=message):
                await client.set_weights(weights)
        status = await client.status()
        assert status["weights"] == {"stable": 0.9, "good": 0.1}
        assert set(status["releases"]) == {"stable", "good"}
        with pytest.raises(InputError, match="must map releases to shares, got 3"):
            await client._control({"weights": 3})
        with pytest.raises(InputError, match="control: must be"):
            await client._control({"weight": {}})

    serve(tmp_path, use)


def test_a_split_answer_is_read_back_as_it_was_written() -> None:
    priced = Priced(np.array([1.5, np.nan]), np.array([0, 2], dtype=np.uint8), "no volatility for 3½ years")
    packed = pack_answer(9, priced)
    assert ANSWER.unpack_from(packed) == (-9, len(packed) - ANSWER.size)
    back = unpack_split(packed[ANSWER.size :])
    assert back.reason == priced.reason
    assert np.array_equal(back.prices, priced.prices, equal_nan=True)
    assert back.origin is not None
    assert back.origin.tolist() == [0, 2]


# What is told of it


def test_the_worker_tells_by_frame_how_many_events_the_canary_priced() -> None:
    pieces = np.zeros(4, dtype=PIECE)
    pieces["frame"], pieces["rows"] = [5, 6, 7, 8], [2, 0, 3, 1]
    poll = Poll((), pieces, np.empty(6), ())
    rows = released(poll, np.array([True, False, False, True, True, False]))
    assert rows.tolist() == [(5, 2, 1), (7, 3, 2)]


def test_a_tally_counts_failures_apart_and_keeps_no_more_than_the_last_jobs() -> None:
    tally = Tally()
    assert "job_p50_us" not in tally.counters()
    tally.add(Job("good", 10, 10**12, 1000))
    for _ in range(LAST_JOBS):
        tally.add(Job("good", 1, 2_000_000, 1000, checked=1, wrong=1))
    tally.add(Job("good", 7, 2_000_000, 5000, error="why"))
    counted = tally.counters()
    assert (counted["jobs"], counted["events"]) == (LAST_JOBS + 2, LAST_JOBS + 10)
    assert (counted["errors"], counted["failed_events"]) == (1, 7)
    assert (counted["shadow_checked"], counted["shadow_wrong"]) == (LAST_JOBS, LAST_JOBS)
    assert (counted["job_p50_us"], counted["job_p99_us"]) == (2000, 2000)
    assert (counted["job_cpu_p50_us"], counted["job_cpu_p99_us"]) == (1, 1)
