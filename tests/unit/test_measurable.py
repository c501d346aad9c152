"""What `measure` refuses before it starts anything: one line each, with place, rule, value and remedy."""

import socket
from pathlib import Path
from typing import Any

import pytest

from live_adapters.measurable import check_scenario, check_times, choose_ports
from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import load_scenario, parse_scenario, scenario_data

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"


def changed(station: str, **settings: Any) -> dict[str, Any]:
    data = scenario_data(load_scenario(SENTRA))
    data["stations"][station] |= settings
    return data


def test_sentras_own_scenario_can_be_measured_with_other_settings() -> None:
    check_scenario(load_scenario(SENTRA))
    check_scenario(parse_scenario(changed("gateway", linger_s=0.005, max_events=200)))
    check_scenario(parse_scenario(changed("kafka", partitions=12)))
    check_scenario(parse_scenario(changed("worker", replicas=6)))


@pytest.mark.parametrize(
    ("station", "settings", "line"),
    [
        ("kafka", {"brokers": 5}, "stations.kafka.brokers: must be 3 for a measurement, got 5"),
        ("kafka", {"acks": "leader"}, "stations.kafka.acks: must be all for a measurement, got leader"),
        ("worker", {"replicas": 7}, r"stations.worker.replicas: must be at most kafka.partitions \(6\), got 7"),
    ],
)
def test_settings_that_the_live_pipeline_lacks_are_refused(station: str, settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError, match=line):
        check_scenario(parse_scenario(changed(station, **settings)))


def test_a_pipeline_of_another_shape_is_refused_with_what_differs() -> None:
    data = scenario_data(load_scenario(SENTRA))
    data["stations"]["till"] = data["stations"].pop("pricing")
    data["stations"]["worker"]["calls"] = ["till", "postgres", "redis"]
    with pytest.raises(ScenarioError, match="got a difference in pricing, till; simulate this one"):
        check_scenario(parse_scenario(data))


@pytest.mark.parametrize(
    ("seconds", "warmup", "line"),
    [
        (0.5, 0.0, "seconds: must be at least 1, got 0.5"),
        (float("nan"), 0.0, "seconds: must be at least 1, got nan"),
        (10.0, -1.0, "warmup: must be zero or more seconds, got -1"),
    ],
)
def test_lengths_that_make_no_run_are_refused(seconds: float, warmup: float, line: str) -> None:
    with pytest.raises(InputError, match=line):
        check_times(seconds, warmup)


def test_a_busy_port_is_refused_in_one_line() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"ports\.gateway: must be a free port of 127\.0\.0\.1, got {port}, in use"
        ):
            choose_ports({"gateway": port})


def test_a_port_of_an_unknown_server_is_refused() -> None:
    with pytest.raises(InputError, match="ports: must name a server, got 'gatway'; valid names: gateway, pricing"):
        choose_ports({"gatway": 1234})


def test_chosen_ports_are_free_and_distinct() -> None:
    ports = choose_ports()
    assert len(set(ports.values())) == len(ports)
    for port in ports.values():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_lanes_that_the_gateway_does_not_know_are_refused() -> None:
    lanes = [{"name": "gold", "partitions": 2, "tenants": [0, 1]}, {"name": "rest", "partitions": 4}]
    with pytest.raises(
        ScenarioError, match=r"stations\.kafka\.lanes: must be \[\] for a measurement, got \[gold, rest\]"
    ):
        check_scenario(parse_scenario(changed("kafka", lanes=lanes)))


def test_sizes_that_the_generator_does_not_send_are_refused() -> None:
    data = scenario_data(load_scenario(SENTRA))
    data["load"]["sizes"] = {"dist": "lognormal", "mean_bytes": 300.0}
    with pytest.raises(ScenarioError, match=r"load\.sizes: must be left out for a measurement, got lognormal"):
        check_scenario(parse_scenario(data))
