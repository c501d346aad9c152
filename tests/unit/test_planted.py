"""Planted faults: nobody comes to them by accident, and each is what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig, read_config, write_config
from sentra_sim.cli import main
from sentra_sim.errors import InputError
from sentra_sim.scenario import load_scenario

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
MESSAGES = [bytes([number]) for number in range(120)]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
        scenario=load_scenario(SCENARIO),
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        topic="events",
        kafka="127.0.0.1:9092",
        postgres_dsn="",
        redis_host="",
        redis_port=0,
        clickhouse_host="",
        clickhouse_port=0,
        gateway_port=1,
        pricing_port=2,
        fanout_port=3,
        fanout_ingest_port=4,
        scratch=tmp_path,
    )


def test_a_run_is_sound_unless_its_configuration_names_a_plant(config: RunConfig) -> None:
    write_config(config)
    assert read_config(config.file).planted == ""
    assert list(planted.sent_messages(config, iter(MESSAGES))) == MESSAGES
    assert planted.producer_settings(config) == planted.ingest_options(config) == {}

    def sound(partition: int, next_offset: int) -> bool:
        return False

    assert planted.acceptor({"hop_log": "x"}, sound) is sound


def test_a_control_disturbs_and_breaks_nothing(config: RunConfig) -> None:
    disturbed = replace(config, planted="dedupe-off-control")
    sent = list(planted.sent_messages(disturbed, iter(MESSAGES)))
    assert len(sent) == len(MESSAGES) + 7
    assert sent[51] == MESSAGES[0]  # the first one again, after fifty more
    assert list(dict.fromkeys(sent)) == MESSAGES
    for plant in ("acks-1", "relay-without-ids"):
        control = replace(config, planted=f"{plant}-control")
        assert planted.producer_settings(control) == planted.ingest_options(control) == {}


def test_a_plant_changes_only_what_it_names(config: RunConfig) -> None:
    assert planted.producer_settings(replace(config, planted="acks-1"))["acks"] == 1
    assert planted.producer_settings(replace(config, planted="dedupe-off")) == {}
    request = planted.ingest_options(replace(config, planted="relay-without-ids"))
    assert planted.acceptor(request, lambda partition, offset: False)(0, 1)


def test_an_unknown_plant_is_refused_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(SCENARIO), "-o", str(tmp_path / "run"), "--plant", "dedupe"]) == 2
    assert capsys.readouterr().err.startswith("sentra: plant: must be one of dedupe-off, acks-1, ")


def test_disturbances_joined_come_together_and_without_a_defect(config: RunConfig) -> None:
    joined = replace(config, planted="dedupe-off-control+relay-without-ids-control")
    assert len(list(planted.sent_messages(joined, iter(MESSAGES)))) > len(MESSAGES)
    assert planted.ingest_options(joined) == {}
    assert planted.ingest_options(replace(config, planted="dedupe-off-control+relay-without-ids")) != {}
    planted.check_plant(joined.planted)
    with pytest.raises(InputError, match=r"or some joined by \+, got 'acks-1\+nothing'"):
        planted.check_plant("acks-1+nothing")
