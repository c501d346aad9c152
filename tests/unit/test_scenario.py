"""A scenario file is read whole, or refused in one line that says place, rule, value and remedy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import (
    hop_edges,
    kpi_names,
    load_scenario,
    parse_scenario,
    processes,
    scenario_data,
    scenario_hash,
    with_load,
)

ROOT = Path(__file__).parents[2]
SENTRA = ROOT / "data" / "scenarios" / "sentra.yaml"
FILES = [SENTRA, ROOT / "examples" / "orders.yaml", ROOT / "examples" / "lanes.yaml"]
GONE = object()
POOL = {"kind": "pool", "host": "box", "hop": "pooled"}


def sentra(**changes: Any) -> dict[str, Any]:
    """Returns Sentra's scenario as data, with values changed at dotted places (`__` for a dot), or taken away."""
    data = copy.deepcopy(yaml.safe_load(SENTRA.read_text(encoding="utf-8")))
    for place, value in changes.items():
        *way, last = place.split("__")
        here = data
        for key in way:
            here = here[int(key)] if isinstance(here, list) else here[key]
        if value is GONE:
            del here[last]
        else:
            here[last] = value
    return data


def complaint(data: object) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(data, place="mine.yaml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("mine.yaml: ")
    return text.removeprefix("mine.yaml: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load__rate_epz": 1}, "load.rate_epz: unknown key; did you mean 'rate_eps'?"),
        ({"nam": "x"}, "nam: unknown key; did you mean 'name'?"),
        ({"stations__worker__replicaz": 2}, "stations.worker.replicaz: unknown key; did you mean 'replicas'?"),
        ({"stations__kafka__append__jobs": 1}, "stations.kafka.append.jobs: unknown key; did you mean 'job_s'?"),
        (
            {"stations__kafka__background__0__evry_s": 1},
            "stations.kafka.background.0.evry_s: unknown key; did you mean 'every_s'?",
        ),
        ({"kpis__e2e__form": "acked"}, "kpis.e2e.form: unknown key; did you mean 'from'?"),
        (
            {"hosts__box__zzz": 1},
            "hosts.box.zzz: unknown key; valid names: cores, discipline, loss, neighbour, network_s, pauses, "
            "price_per_core_hour, slice_s, speed",
        ),
        # A station may be called like a kind.
        ({"stations__pool": POOL | {"threds": 2}}, "stations.pool.threds: unknown key; did you mean 'threads'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_name(changes: dict[str, Any], message: str) -> None:
    assert complaint(sentra(**changes)) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load__rate_eps": -5}, "load.rate_eps: must be greater than 0, got -5; write a positive number"),
        ({"load__rate_eps": 0}, "load.rate_eps: must be greater than 0, got 0; write a positive number"),
        ({"load__rate_eps": float("nan")}, "load.rate_eps: must be a finite number, got nan; mend the value"),
        (
            {"load__rate_eps": "fast"},
            "load.rate_eps: must be a valid number, unable to parse string as a number, got 'fast'; mend the value",
        ),
        ({"load__rate_eps": None}, "load.rate_eps: must be a valid number, got nothing; mend the value"),
        ({"load__arrivals": "burst"}, "load.arrivals: must be 'constant' or 'poisson', got 'burst'; mend the value"),
        ({"load__event_bytes": 8}, "load.event_bytes: must be greater than or equal to 64, got 8; mend the value"),
        (
            {"stations__redis__demand__job_s": -1e-6},
            "stations.redis.demand.job_s: must be greater than or equal to 0, got -1e-06; write zero or more",
        ),
        (
            {"stations__worker__replicas": 0},
            "stations.worker.replicas: must be greater than 0, got 0; write a positive number",
        ),
        ({"seed": -1}, "seed: must be greater than or equal to 0, got -1; write zero or more"),
        ({"schema_version": 2}, "schema_version: must be 1, got 2; mend the value"),
        (
            {"name": "My Pipeline"},
            "name: must be lower-case letters, digits, '-' and '_', a letter first, got 'My Pipeline'; mend the value",
        ),
        (
            {"stations__kafka__hop": "acked-by-all"},
            "stations.kafka.hop: must be lower-case letters, digits and '_', a letter first, got 'acked-by-all'; mend the value",
        ),
        (
            {"stations__gateway__hops": ["a", "b", "c"]},
            "stations.gateway.hops: must hold 2 items at most, got ['a', 'b', 'c']; mend the value",
        ),
        (
            {"stations__worker__calls": "pricing"},
            "stations.worker.calls: must be a list, got 'pricing'; mend the value",
        ),
        ({"stations__gateway": None}, "stations.gateway: must be a mapping, got nothing; mend the value"),
        ({"stations__gateway__receive": 5}, "stations.gateway.receive: must be a mapping, got 5; mend the value"),
        ({"slo__e2e_p95_s": 0.12}, "slo.e2e_p95_s: must be a mapping, got 0.12; mend the value"),
        ({"slo__e2e_p95_s": {}}, "slo.e2e_p95_s: must set max, min or both, got {}; mend the value"),
        (
            {"slo__e2e_p95_s": {"max": 1, "min": 2}},
            "slo.e2e_p95_s: must set max no lower than min, got {'max': 1, 'min': 2}; mend the value",
        ),
        (
            {"stations__redis__demand__noise": {"dist": "quantiles", "quantiles": [1]}},
            "stations.redis.demand.noise: must hold two quantiles or more with dist: quantiles, "
            "got {'dist': 'quantiles', 'quantiles': [1]}; mend the value",
        ),
        (
            {"stations__redis__demand__noise": {"dist": "quantiles", "quantiles": [2, 1]}},
            "stations.redis.demand.noise: must hold quantiles that never fall, "
            "got {'dist': 'quantiles', 'quantiles': [2, 1]}; mend the value",
        ),
    ],
)
def test_a_value_out_of_range_or_of_the_wrong_kind_is_refused(changes: dict[str, Any], message: str) -> None:
    assert complaint(sentra(**changes)) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stations": GONE}, "stations: missing; add it"),
        ({"hosts": GONE}, "hosts: missing; add it"),
        ({"stations__gateway__to": GONE}, "stations.gateway.to: missing; add it"),
        (
            {"stations__gateway__kind": GONE},
            "stations.gateway.kind: missing; write one of source, batcher, log, consumer_group, pool, store, broadcast",
        ),
        ({"kpis__e2e__to": GONE}, "kpis.e2e.to: missing; add it"),
        ({"stations__gateway__hops": ["received"]}, "stations.gateway.hops.1: missing; add it"),
        ({"stations__generator": GONE}, "stations: must hold exactly one source, got 0; add or remove one"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], message: str) -> None:
    assert complaint(sentra(**changes)) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stations__gateway__kind": "batchr"},
            "stations.gateway.kind: must be one of source, batcher, log, consumer_group, pool, store, broadcast, "
            "got 'batchr'; did you mean 'batcher'?",
        ),
        ({"stations__gateway__host": "bx"}, "stations.gateway.host: must name a host, got 'bx'; did you mean 'box'?"),
        (
            {"stations__gateway__host": "cloud"},
            "stations.gateway.host: must name a host, got 'cloud'; valid names: box",
        ),
        ({"hosts": {}}, "stations.generator.host: must name a host, got 'box'; add one"),
        (
            {"stations__fanout__subscriber_host": "bok"},
            "stations.fanout.subscriber_host: must name a host, got 'bok'; did you mean 'box'?",
        ),
        (
            {"stations__gateway__to": "kafk"},
            "stations.gateway.to: must name a station, got 'kafk'; did you mean 'kafka'?",
        ),
        (
            {"stations__gateway__to": "nowhere"},
            "stations.gateway.to: must name a station, got 'nowhere'; valid names: "
            "generator, gateway, kafka, worker, pricing, postgres, redis, clickhouse, fanout",
        ),
        (
            {"stations__gateway__to": "worker"},
            "stations.gateway.to: must lead to a log, got 'worker', a consumer_group; mend the edge",
        ),
        (
            {"stations__worker__calls": ["pricing", "postgres", "redis", "clickhouse"]},
            "stations.clickhouse: must be reached by one way, got a second from 'worker'; remove one edge",
        ),
        (
            {"stations__postgres__to": ["fanout", "clickhouse", "postgres"]},
            "stations.postgres: must not be reached from itself, "
            "got generator -> gateway -> kafka -> worker -> postgres -> postgres; cut one edge",
        ),
        (
            {"stations__clickhouse__to": ["postgres"]},
            "stations.postgres: must not be reached from itself, "
            "got generator -> gateway -> kafka -> worker -> postgres -> clickhouse -> postgres; cut one edge",
        ),
        (
            {"stations__worker__calls": ["pricing", "postgres"]},
            "stations.redis: must be reached from the source, got no edge to it; name it in a `to` or `calls`",
        ),
        (
            {"stations__redis__hop": "priced"},
            "stations: hop names must be unique and not 'intended', got 'priced' again; rename one",
        ),
        (
            {"stations__redis__hop": "intended"},
            "stations: hop names must be unique and not 'intended', got 'intended' again; rename one",
        ),
        (
            {"stations__kafka__replication_factor": 4},
            "stations.kafka.replication_factor: must be <= brokers (3), got 4; add brokers or lower it",
        ),
        (
            {"stations__kafka__min_insync_replicas": 4},
            "stations.kafka.min_insync_replicas: must be <= replication_factor (3), got 4; lower it",
        ),
        ({"kpis__e2e__to": "deliverd"}, "kpis.e2e.to: must name a hop, got 'deliverd'; did you mean 'delivered'?"),
        (
            {"slo__e2e_p96_s": {"max": 1}},
            "slo.e2e_p96_s: must name a KPI, got 'e2e_p96_s'; did you mean 'e2e_p99_s'?",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    assert complaint(sentra(**changes)) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine.yaml: must be a mapping, got nothing; start with schema_version: 1"),
        (b"# only a comment\n", "mine.yaml: must be a mapping, got nothing; start with schema_version: 1"),
        (b"- a\n- b\n", "mine.yaml: must be a mapping, got ['a', 'b']; start with schema_version: 1"),
        (b"just words\n", "mine.yaml: must be a mapping, got 'just words'; start with schema_version: 1"),
        (
            b"name: [1,\n",
            "mine.yaml line 2: must be YAML, expected the node content, but found '<stream end>'; mend the line",
        ),
        (
            b"name: x\n\tseed: 1\n",
            "mine.yaml line 2: must be YAML, found character '\\t' that cannot start any token; mend the line",
        ),
        (
            b"name: a\nseed: 1\nname: b\n",
            "mine.yaml line 3: must be YAML, found the key 'name' a second time; mend the line",
        ),
        (b"name: \x07\n", "mine.yaml: must be YAML, special characters are not allowed; mend the line"),
        (b"? [a]\n: 1\n", "mine.yaml line 1: must be YAML, found unhashable key; mend the line"),
        (
            b"a: " + b"[" * 3000 + b"]" * 3000,
            "mine.yaml: must be YAML of a usual size, got a number or a nesting beyond it; mend the file",
        ),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file)
    assert str(caught.value) == message


def test_a_file_that_cannot_be_read_is_named_with_its_whole_path(tmp_path: Path) -> None:
    remedy = "name a scenario file such as data/scenarios/sentra.yaml"
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    for name, reason in (
        ("none.yaml", "No such file or directory"),
        ("binary.yaml", "not UTF-8 text"),
        ("", "Is a directory"),
    ):
        with pytest.raises(ScenarioError) as caught:
            load_scenario(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: cannot be read, {reason}; {remedy}"


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: !!python/object/apply:os.system ['touch {proof}']\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"mine\.yaml line 1: must be YAML, could not determine a constructor"):
        load_scenario(file)
    assert not proof.exists()


def test_a_refusal_ends_the_command_line_with_exit_code_2() -> None:
    assert issubclass(ScenarioError, InputError)
    assert ScenarioError.exit_code == 2


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_scenario_survives_the_round_trip(tmp_path: Path, file: Path) -> None:
    scenario = load_scenario(file)
    copied = tmp_path / "copy.yaml"
    copied.write_text(yaml.safe_dump(scenario_data(scenario)), encoding="utf-8")
    assert load_scenario(copied) == scenario
    assert scenario_hash(load_scenario(copied)) == scenario_hash(scenario)


def test_the_hash_does_not_see_the_order_of_keys_nor_a_default_written_out() -> None:
    data = sentra()
    turned = {key: data[key] for key in reversed(data)}
    turned["stations"] = {
        name: {key: station[key] for key in reversed(station)} for name, station in data["stations"].items()
    }
    turned["load"] = {**data["load"], "rate_eps": 50_000.0}
    turned["stations"]["worker"]["low_priority"] = False
    assert scenario_hash(parse_scenario(turned)) == scenario_hash(parse_scenario(data))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"name": "other"},
        {"load__rate_eps": 50_001},
        {"load__tick_s": 0.0021},
        {"hosts__box__cores": 3},
        {"stations__kafka__append__event_s": 0.41e-6},
        {"stations__kafka__acks": "leader"},
        {"stations__worker__calls": ["pricing", "redis", "postgres"]},
        {"kpis__staleness__to": "committed"},
        {"slo__e2e_p95_s__max": 0.121},
    ],
)
def test_the_hash_sees_every_value(changes: dict[str, Any]) -> None:
    assert scenario_hash(parse_scenario(sentra(**changes))) != scenario_hash(parse_scenario(sentra()))


def test_a_scenario_can_be_put_under_another_load() -> None:
    scenario = load_scenario(SENTRA)
    other = with_load(scenario, rate_eps=10_000, arrivals="poisson")
    assert (other.load.rate_eps, other.load.arrivals, other.load.keys) == (10_000, "poisson", scenario.load.keys)
    assert with_load(scenario) == scenario
    with pytest.raises(ScenarioError, match=r"^sentra: load\.rate_eps: must be greater than 0, got -1"):
        with_load(scenario, rate_eps=-1)


def test_hops_come_in_the_order_of_a_frame_s_way() -> None:
    edges = hop_edges(load_scenario(SENTRA))
    assert [(edge.after, edge.hop) for edge in edges] == [
        ("intended", "received"),
        ("received", "closed"),
        ("closed", "acked"),
        ("acked", "started"),
        ("started", "priced"),
        ("priced", "committed"),
        ("committed", "sent"),
        ("sent", "delivered"),
        ("committed", "clickhouse"),
        ("committed", "redis"),
    ]


def test_cpu_is_accounted_by_station_by_broker_and_for_the_subscriber() -> None:
    names = processes(load_scenario(SENTRA))
    assert {"kafka-1", "kafka-2", "kafka-3", "subscriber", "gateway"} <= set(names)
    assert "kafka" not in names


def test_subscribers_of_two_broadcasts_are_accounted_apart() -> None:
    data = sentra()
    data["stations"]["fanout2"] = data["stations"]["fanout"] | {"hops": ["sent2", "delivered2"]}
    data["stations"]["postgres"]["to"].append("fanout2")
    names = processes(parse_scenario(data))
    assert len(set(names)) == len(names)
    assert {"fanout-subscriber", "fanout2-subscriber"} <= set(names)


def test_a_bound_can_be_set_on_every_kpi_that_a_run_has() -> None:
    names = kpi_names(load_scenario(SENTRA))
    slo = {name: {"min": 0} for name in names}
    assert set(parse_scenario(sentra(slo=slo)).slo) == set(names)
