"""What a user gets wrong, through the command: one line with place, rule, value and remedy, exit code 2, and nothing half-written."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentra_sim.cli import main
from tests.pipelines import BARE, SENTRA

CSV = "time,count\n0,10\n60,20\n120,30\n"
ROLLOUT = {
    "canary": "slower",
    "steps": [{"weight": 0.5, "hold_s": 1}],
    "gates": [{"metric": "e2e_p95_s", "max": 0.1}],
}
DEFECTS = {"slower": {"station": "pricing", "factor": 4}}
KAFKA = {"type": "kafka", "metadata": {"lagThreshold": "500"}}


class Desk:
    """A user's folder, and what the command says there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def write(self, name: str, data: Any) -> Path:
        file = self.folder / name
        file.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return file

    def simulate(self, scenario: Any, *more: str, seconds: str = "1") -> int:
        file = self.write("mine.yaml", scenario)
        plain = ["--engine", "reference", "--seconds", seconds, "--warmup", "0", "--json"]
        return main(["simulate", str(file), "-o", str(self.folder / "out"), *plain, *more])

    def refused(self, scenario: Any, *more: str) -> str:
        """Simulates what must be refused; returns the one line."""
        before = {file.name for file in self.folder.iterdir()} | {"mine.yaml"}
        self._capsys.readouterr()
        assert self.simulate(scenario, *more) == 2
        told = self._capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1, told.err
        assert {file.name for file in self.folder.iterdir()} == before, "something is half-written"
        return told.err.strip().removeprefix("sentra: ")

    def warned(self, scenario: Any, *more: str) -> list[str]:
        """Simulates what is allowed; returns the warnings, which the machine gets as well."""
        self._capsys.readouterr()
        assert self.simulate(scenario, *more, "--replace") == 0
        told = self._capsys.readouterr()
        lines = [line.removeprefix("sentra: warning: ") for line in told.err.splitlines()]
        assert json.loads(told.out)["warnings"] == lines
        return lines


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def changed(base: Any, changes: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = copy.deepcopy(base)
    for place, value in changes.items():
        *way, last = place.split(".")
        here = data
        for key in way:
            here = here.setdefault(key, {})
        here[last] = value
    return data


def sentra(changes: dict[str, Any]) -> dict[str, Any]:
    return changed(yaml.safe_load(SENTRA.read_text(encoding="utf-8")), changes)


def bare(changes: dict[str, Any]) -> dict[str, Any]:
    return changed(BARE | {"kpis": {"e2e": {"from": "intended", "to": "started"}}}, changes)


def traced(**shape: Any) -> dict[str, Any]:
    return bare({"load": {"shape": [{"kind": "trace", "file": "trace.csv", "column": "count"} | shape]}})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"stations.clickhouse.to": ["postgres"]},
            "mine.yaml: stations.postgres: must not be reached from itself, "
            "got generator -> gateway -> kafka -> worker -> postgres -> clickhouse -> postgres; cut one edge",
        ),
        (
            {"stations.spare": {"kind": "pool", "host": "box", "hop": "spared"}},
            "mine.yaml: stations.spare: must be reached from the source, got no edge to it; name it in a `to` or `calls`",
        ),
        (
            {"stations.redis.host": "bx"},
            "mine.yaml: stations.redis.host: must name a host, got 'bx'; did you mean 'box'?",
        ),
        (
            {"kpis.e2e": {"from": "delivered", "to": "intended"}},
            "mine.yaml: kpis.e2e.to: must come after from ('delivered') on a frame's way, got 'intended'; "
            "swap the two, or name a later hop",
        ),
        (
            {"stations.gateway.linger_s": "20ms"},
            "mine.yaml: stations.gateway.linger_s: must be a valid number, unable to parse string as a number, "
            "got '20ms'; write 0.02, without a unit",
        ),
        (
            {"stations.pricing.releases": {"next": {"weight": "10%"}}},
            "mine.yaml: stations.pricing.releases.next.weight: must be a valid number, "
            "unable to parse string as a number, got '10%'; write 0.1, without a unit",
        ),
        (
            {"stations.generator.retry": {"timeout_ms": 500}},
            "mine.yaml: stations.generator.retry.timeout_ms: unknown key; did you mean 'timeout_s'?",
        ),
        (
            {"load.tenant_weights": [1, 2]},
            "mine.yaml: load: must have tenant_weights of all 20 tenants, not of 2, "
            "got tenants 20, tenant_weights [1, 2]; mend the value",
        ),
        (
            {"load.shape": [{"kind": "mmpp", "states": [{"rate": 1, "mean_s": 1}]}]},
            "mine.yaml: load.shape.0.states: must hold 2 or more, got [{'rate': 1, 'mean_s': 1}]; mend the value",
        ),
    ],
)
def test_a_wrong_scenario_is_one_line(desk: Desk, changes: dict[str, Any], line: str) -> None:
    assert desk.refused(sentra(changes)) == line


@pytest.mark.parametrize(
    ("shape", "csv", "line"),
    [
        ({}, CSV.replace("60,20\n", "") + "180,4\n", "must follow by 120 s as the first two do, got 60 s"),
        ({}, CSV + "240,1\n", "trace.csv row 5: must follow by 60 s, got a gap of 120 s; write gaps: hold or zero"),
        ({}, CSV + "180,NaN\n", "trace.csv row 5: count must be finite and >= 0, got nan; fill it in"),
        ({}, CSV + "NaN,1\n", "trace.csv row 5: must begin at an ISO 8601 time or at seconds, got 'NaN'; mend the row"),
        ({}, CSV + "180,-1\n", "trace.csv row 5: count must be finite and >= 0, got -1.0; fill it in"),
        ({}, CSV + "30,1\n", "trace.csv row 5: must come after the row before, got -90 s; sort the rows"),
        ({}, "", "trace.csv: must be a CSV file with a header, got an empty one; name another file"),
        ({"column": "cuont"}, CSV, "trace.csv: must have the column 'cuont', got none; did you mean 'count'?"),
        ({"column": ""}, CSV, "load.shape.0.column: missing; name the column that holds the counts or rates"),
        ({"skip_rows": -1}, CSV, "load.shape.0.skip_rows: must be >= 0, got -1; write 0 or more"),
        ({"file": "trace\0.csv"}, CSV, "trace\\x00.csv' cannot be read"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_named_by_row(
    desk: Desk, shape: dict[str, Any], csv: str, line: str
) -> None:
    desk.write("trace.csv", csv)
    told = desk.refused(traced(**shape))
    assert told.startswith("mine.yaml: load.shape.0")
    assert line in told


def test_a_gap_is_filled_when_the_user_says_with_what(desk: Desk) -> None:
    desk.write("trace.csv", CSV + "240,1\n")
    assert desk.warned(traced(gaps="hold")) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"stations.group.replicas": 3},
            "stations.group.replicas: should be <= the log's partitions (1), got 3; "
            "2 of the consumers would be idle: add partitions or lower it",
        ),
        (
            {"load.keys": 5},
            "load.keys: should be >= load.tenants (20), got 5; 15 of the tenants own no key and offer nothing: add keys",
        ),
        (
            {"stations.group.process": {"job_s": 1e-6, "noise": {"dist": "lognormal"}}},
            "stations.group.process.noise.cv: should be > 0 with dist: lognormal, got 0; "
            "nothing varies: write a cv, or dist: constant",
        ),
        (
            {"stations.group.process": {"job_s": 1e-6, "noise": {"cv": 0.5}}},
            "stations.group.process.noise.cv: should be left out with dist: constant, got 0.5; "
            "it changes nothing: write dist: lognormal, or leave it out",
        ),
        (
            {"stations.log.fetch": {"mean_s": 1e-3, "noise": {"dist": "quantiles", "quantiles": [2, 4]}}},
            "stations.log.fetch.noise.quantiles: should have a mean of 1, got 3; "
            "everything takes so many times as long as written: divide them by it",
        ),
        (
            {"stations.group.breaker": {"failures": 3}},
            "stations.group.breaker: should go with a called station that sets failure, got none; "
            "no call fails, it never opens: set failure, or leave the breaker out",
        ),
        (
            {"stations.log.retry_backoff_s": 2.0},
            "stations.log.retry_backoff_max_s: should be >= retry_backoff_s (2), got 1; "
            "retry_backoff_s has no effect: raise it",
        ),
    ],
)
def test_what_is_hardly_meant_is_a_warning_and_the_run_goes_on(desk: Desk, changes: dict[str, Any], line: str) -> None:
    assert desk.warned(bare(changes)) == [f"mine.yaml: {line}"]


def test_a_scenario_without_doubts_has_no_warning(desk: Desk) -> None:
    assert desk.warned(bare({})) == []


def timetable(**fault: Any) -> dict[str, Any]:
    return {"faults": {"timetable": [{"at_s": 0.5} | fault]}}


@pytest.mark.parametrize(
    ("control", "line"),
    [
        (
            timetable(action="kill", process="workr"),
            "faults.timetable.0.process: kill: must be of a broker, a consumer or a station with recovery, got 'workr'; ",
        ),
        (
            timetable(action="burden", station="pricng", factor=2),
            "faults.timetable.0.station: demand: must be of a station, got 'pricng'; ",
        ),
        (timetable(action="speed", host="bx"), "faults.timetable.0.host: speed: must be of a host, got 'bx'; "),
        (
            timetable(action="workers", count=9),
            "faults.timetable.0.count: must be at most a worker for each of the log's partitions (6), got 9; lower it",
        ),
        (
            timetable(action="kill", process="worker", latency_s=3),
            "faults.timetable.0: must have no latency_s with the action kill, which has no such key, got {",
        ),
        (
            timetable(action="weights", weights={"stable": 0.9, "canary": 0.9}),
            "faults.timetable.0: must have weights that add up to 1, not to 1.8, got {",
        ),
        (
            timetable(action="weights", weights={"stable": 0.9, "canary": 0.1}),
            "faults.timetable.0.weights: must name a release of the simulation, got 'canary'; write it under defects",
        ),
        (timetable(action="kill", process="worker", at_s="1s"), "faults.timetable.0.at_s: must be a valid number, "),
        (
            {"rollout": ROLLOUT | {"canary": "slowr"}, "defects": DEFECTS},
            "rollout.canary: must name a release of the simulation, got 'slowr'; did you mean 'slower'?",
        ),
        (
            {"rollout": ROLLOUT | {"gates": [{"metric": "e2e_p96_s", "max": 1}]}, "defects": DEFECTS},
            "rollout.gates.0.metric: must be a metric of the plant, got 'e2e_p96_s'; did you mean 'e2e_p99_s'?",
        ),
        (
            {"rollout": ROLLOUT | {"gates": [{"metric": "lag_s", "max": 1, "min": 2}]}, "defects": DEFECTS},
            "rollout.gates.0: must set max no lower than min, got {",
        ),
        (
            {"rollout": ROLLOUT | {"window_s": 600}, "defects": DEFECTS},
            "rollout.window_s: must be at most 300, got 600; write a shorter window",
        ),
        (
            {"rollout": ROLLOUT, "defects": {"slower": {"station": "pricng", "factor": 4}}},
            "defects.slower.station: must name a station, got 'pricng'; did you mean 'pricing'?",
        ),
    ],
)
def test_a_control_file_is_checked_before_anything_happens(desk: Desk, control: dict[str, Any], line: str) -> None:
    file = desk.write("control.yaml", control)
    assert desk.refused(sentra({}), "--control", str(file)).startswith(f"control.yaml: {line}")


@pytest.mark.parametrize(
    ("trigger", "line"),
    [
        (
            {"type": "kafka", "metadata": {"lagThreshold": "0"}},
            "metadata.lagThreshold: must be greater than 0, got '0'; write a positive number",
        ),
        (
            {"type": "prometheus", "metadata": {"query": "lag_event", "threshold": 5}},
            "metadata.query: must be a metric of the plant, got 'lag_event'; did you mean 'lag_events'?",
        ),
        (
            {"type": "prometheus", "metadata": {"query": "lag_events", "treshold": 5}},
            "metadata.treshold: unknown key; did you mean 'threshold'?",
        ),
        (
            {"type": "rabbitmq", "metadata": {}},
            "type: must be one of 'kafka', 'prometheus', got 'rabbitmq'; write one of them",
        ),
    ],
)
def test_a_scaled_object_is_checked_before_anything_happens(desk: Desk, trigger: dict[str, Any], line: str) -> None:
    desk.write("so.yaml", scaled([trigger]))
    file = desk.write("control.yaml", {"autoscaler": "so.yaml"})
    assert desk.refused(sentra({}), "--control", str(file)) == f"so.yaml: spec.triggers.0.{line}"


def test_an_hpa_on_cpu_is_refused_with_what_to_write_instead(desk: Desk) -> None:
    metric = {"type": "Resource", "resource": {"name": "cpu"}}
    spec = {"maxReplicas": 3, "metrics": [metric]}
    desk.write("hpa.yaml", {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec})
    file = desk.write("control.yaml", {"autoscaler": "hpa.yaml"})
    assert desk.refused(sentra({}), "--control", str(file)) == (
        "hpa.yaml: spec.metrics.0.resource: must not be set, got a field of the HorizontalPodAutoscaler that is not played; "
        "write a metric of type External, such as cpu_cores"
    )


def scaled(triggers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {"triggers": triggers}}


@pytest.mark.parametrize(
    ("control", "line"),
    [
        (
            timetable(action="pause", process="group", at_s=100),
            "faults.timetable.0.at_s: should be < the run's 1 s, got 100; it never happens: run for longer",
        ),
        (
            timetable(action="slow", process="log-1", latency_s=0.1, share=0.01),
            "faults.timetable.0.share: should be left out in a simulation, got 0.01; "
            "it delays every answer by latency_s (0.1) alone",
        ),
        (
            {
                "rollout": ROLLOUT | {"steps": [{"weight": 0.5, "hold_s": 60}]},
                "defects": {"slower": {"station": "group", "factor": 2}},
            },
            "rollout.steps: should end within the run's 1 s, got 60 s from its start on; "
            "the rollout stays unfinished: run for longer",
        ),
    ],
)
def test_what_a_simulation_leaves_out_or_never_comes_to_is_a_warning(
    desk: Desk, control: dict[str, Any], line: str
) -> None:
    file = desk.write("control.yaml", control)
    assert desk.warned(bare({}), "--control", str(file)) == [f"control.yaml: {line}"]


def test_a_load_that_no_machine_has_room_for_is_refused_at_once(desk: Desk) -> None:
    assert desk.refused(bare({}), "--rate", "1e14") == (
        "mine.yaml: load: must offer at most 10,000,000,000 events, got 100,000,000,000,000; "
        "lower the rate, or shorten --seconds"
    )
    told = desk.refused(bare({"load.keys": 10**16}))
    assert told.startswith("memory: must hold the run, got Unable to allocate")


def saturating(changes: dict[str, Any]) -> dict[str, Any]:
    """A pipeline in which 200 events/s are offered to a group that works on 100."""
    return bare(
        {
            "load.rate_eps": 200.0,
            "kpis": {
                "e2e": {"from": "intended", "to": "started"},
                "ingest": {"from": "intended", "to": "acked"},
            },
            "stations.group.max_poll_events": 1,
            "stations.group.process": {"job_s": 0.01},
        }
        | changes
    )


def test_a_saturated_run_is_allowed_and_says_where_events_pile_up_and_how_fast(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.simulate(saturating({}), seconds="10") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["saturated"]["started"] == pytest.approx(100.0, rel=0.05)
    assert list(found["saturated"]) == ["started"]
    kpis = {kpi["name"]: kpi for kpi in found["kpis"]}
    assert kpis["e2e_p99_s"]["value"] is None
    assert kpis["e2e_p99_s"]["verdict"] == "saturated"
    assert kpis["backlog_growth_eps"]["value"] == pytest.approx(100.0, rel=0.05)
    assert kpis["ingest_p99_s"]["value"] < 0.1  # the way to the log is as fast as ever


def test_kpi_shows_no_quantile_of_a_hop_before_which_events_pile_up(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.simulate(saturating({}), seconds="10") == 0
    capsys.readouterr()
    assert main(["kpi", str(desk.folder / "out"), "--hops"]) == 0
    told = "\n".join(line.strip() for line in capsys.readouterr().out.splitlines())
    (row,) = [line for line in told.splitlines() if line.startswith("acked → started")]
    assert row.split()[3:] == ["SATURATED"] * 3
    (line,) = [line for line in told.splitlines() if line.startswith("saturated before")]
    assert line.startswith("saturated before started: ")
    assert "events/s more wait there each second; offer less" in line
    (row,) = [line for line in told.splitlines() if line.startswith("e2e_p99_s")]
    assert row.split() == ["e2e_p99_s", "-", "-", "-", "SATURATED"]
    assert main(["kpi", str(desk.folder / "out"), "--hops", "--json"]) == 0
    hops = {row["hop"]: row for row in json.loads(capsys.readouterr().out)["hops"]}
    assert hops["started"]["p99_s"] is None
    assert hops["acked"]["p99_s"] is not None


def test_a_pipeline_that_sheds_what_it_cannot_carry_is_not_saturated(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.simulate(saturating({"stations.group.max_age_s": 0.5}), seconds="10") == 0
    found = json.loads(capsys.readouterr().out)
    kpis = {kpi["name"]: kpi for kpi in found["kpis"]}
    assert found["counters"]["shed"] > 500
    assert found["saturated"] == {}
    assert abs(kpis["backlog_growth_eps"]["value"]) < 10.0
    assert kpis["error_rate"]["value"] == pytest.approx(0.5, abs=0.1)
    assert kpis["lag_max_events"]["value"] < 200.0  # half a second of the load


def test_no_number_of_replications_is_tried_for_quantiles_that_do_not_exist(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.simulate(saturating({}), "--until-half-width", "2%", seconds="6") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["replications"], found["reached"], found["kpis"]) == (1, False, {})
    assert list(found["saturated"]) == ["started"]
