"""Two scenarios with the same seeds: what differs shows, what does not differ is zero, and how sure that is stands beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, expon

from sentra_sim.cli import main
from sentra_sim.engine import replications
from sentra_sim.errors import ScenarioError
from sentra_sim.plan.against import Compared, simulate_against
from sentra_sim.records import read_run
from sentra_sim.scenario import Scenario, load_scenario, parse_scenario, scenario_data, with_load
from sentra_sim.scenario.settings import with_settings
from sentra_sim.stats import until_difference
from tests.pipelines import SENTRA

LEAST_OF_200 = int(binom.ppf(0.001, 200, 0.95))
LATENCIES = {f"{span}_{q}_s" for span in ("e2e", "staleness") for q in ("p50", "p95", "p99")}


def sentra(*settings: str) -> Scenario:
    return with_settings(with_load(load_scenario(SENTRA), rate_eps=5_000.0), settings, place="test")


def against(one: Scenario, other: Scenario, **options: Any) -> Compared:
    asked = {"relative": 0.05, "seconds": 0.5, "warmup_s": 0.3, "seed": 1, "most": 20} | options
    return simulate_against(one, other, engine="reference", **asked)


def exponential(seed: int, size: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).standard_exponential(size)


def test_a_faster_core_shows_in_every_latency() -> None:
    found = against(sentra(), sentra("hosts.box.speed=2"), seconds=1.0, warmup_s=0.5)
    assert found.reached
    assert set(found.differences) == LATENCIES
    for name, difference in found.differences.items():
        assert difference.verdict == "lower", name
        assert difference.difference.value == pytest.approx(difference.other - difference.one)
        assert difference.difference.half_width <= 0.05 * difference.one
        assert difference.relative == pytest.approx(difference.other / difference.one - 1)
    assert found.differences["e2e_p95_s"].variance_ratio < 1.0  # type: ignore[operator]
    assert found.differences["e2e_p95_s"].correlation > 0.0  # type: ignore[operator]


def test_a_scenario_differs_from_itself_by_exactly_nothing() -> None:
    found = against(sentra(), sentra())
    assert found.reached
    assert found.replications == 10
    for difference in found.differences.values():
        assert (difference.difference.low, difference.difference.value, difference.difference.high) == (0.0, 0.0, 0.0)
        assert (difference.verdict, difference.variance_ratio) == ("equal", 0.0)


def test_a_station_of_another_name_draws_other_numbers_and_the_rest_the_same() -> None:
    """Only the name differs, so no latency truly does; but the numbers drawn there do."""
    noisy = sentra("stations.pricing.demand={job_s: 2e-3, noise: {dist: exponential}}")
    renamed = parse_scenario(json.loads(json.dumps(scenario_data(noisy)).replace('"pricing"', '"tariff"')))
    found = against(noisy, renamed, relative=0.2)
    for name, difference in found.differences.items():
        assert difference.verdict != "equal", name
        assert abs(difference.relative or 0.0) < 0.1, name
        assert (difference.correlation or 0.0) < 0.99, name


def test_a_load_that_only_the_other_cannot_carry_is_said_of_the_other() -> None:
    found = against(sentra(), sentra("stations.pricing.demand.event_s=400e-6"), seconds=6.0, warmup_s=0.5)
    assert found.saturated[0] == {}
    assert found.saturated[1]
    assert (found.differences, found.reached) == ({}, False)


def test_pilots_are_not_played_again_unless_more_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    play = replications.simulate

    def counted(scenario: Scenario, **options: Any) -> Any:
        seeds.append(options["seed"])
        return play(scenario, **options)

    monkeypatch.setattr(replications, "simulate", counted)
    options: dict[str, Any] = {"relative": 0.5, "seconds": 1.0, "warmup_s": 0.5, "seed": 1, "most": 10}
    monkeypatch.setattr(replications, "warmup_cut", lambda _: 0)
    replications.simulate_until(sentra(), engine="reference", **options)
    assert seeds == list(range(1, 11))
    seeds.clear()
    monkeypatch.setattr(replications, "warmup_cut", lambda _: 3)
    found = replications.simulate_until(sentra(), engine="reference", **options)
    assert found.warmup_s == pytest.approx(0.8)
    assert seeds == [*range(1, 6), *range(1, 11)]


def test_the_paired_interval_at_which_it_stops_covers_as_often_as_it_says() -> None:
    """The other's values are 0.9 of the one's with a noise of its own: the difference of the P90 is known."""
    truth = -0.1 * float(expon.ppf(0.9))

    def covers(start: int) -> bool:
        def pair(number: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
            one = exponential(start + number)
            own = np.random.default_rng((start, number)).random(500) < 0.1  # a tenth is drawn anew
            other = np.where(own, np.random.default_rng((number, start)).standard_exponential(500), one)
            return {"wait": one}, {"wait": 0.9 * other}

        found = until_difference(pair, (0.9,), relative=0.02)
        assert found.differences["wait", 0.9].variance_ratio < 0.7  # type: ignore[operator]
        return found.differences["wait", 0.9].difference.covers(truth)

    assert sum(covers(10_000 * trial) for trial in range(1, 201)) >= LEAST_OF_200


def test_it_gives_up_on_what_never_arrives_and_on_what_takes_too_long() -> None:
    lost = until_difference(lambda n: ({"wait": exponential(n)}, {"wait": np.full(10, np.nan)}), (0.5,), relative=0.1)
    assert (lost.reached, lost.replications) == (False, 10)
    assert lost.differences["wait", 0.5].verdict == "undecided"
    assert lost.differences["wait", 0.5].relative is None
    hasty = until_difference(
        lambda n: ({"wait": exponential(n)}, {"wait": exponential(n + 99)}), (0.5,), relative=1e-4, most=12
    )
    assert (hasty.reached, hasty.replications) == (False, 12)
    with pytest.raises(ValueError, match="must be > 0 and least >= 2"):
        until_difference(lambda n: ({}, {}), (0.5,), relative=0.0)


SMALL = ["simulate", str(SENTRA), "--rate", "5000", "--seconds", "1", "--warmup", "0.5", "--engine", "reference"]
FASTER = ["--against-set", "hosts.box.speed=2"]
SHARE = ["--until-half-width", "5%"]


def test_the_command_writes_both_and_tells_every_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *FASTER, *SHARE, "-o", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reached"], told["saturated"]) == (True, {"one": {}, "other": {}})
    assert set(told["kpis"]) == LATENCIES
    for difference in told["kpis"].values():
        assert difference["difference"]["high"] < 0.0
        assert difference["verdict"] == "lower"
    one, other = read_run(tmp_path / "run"), read_run(tmp_path / "run-against")
    assert one.manifest.seed == other.manifest.seed
    assert one.manifest.scenario_hash != other.manifest.scenario_hash
    hasty = ["--until-half-width", "0.0001%", "--max-replications", "2", "--replace"]
    assert main([*SMALL, *FASTER, *hasty, "-o", str(tmp_path / "run")]) == 1
    assert "not as precise as" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (FASTER, "--against: must have --until-half-width, got none"),
        (["--against", str(SENTRA)], "--against: must have --until-half-width, got none"),
        (["--against", "gone.yaml", *SHARE], "gone.yaml: cannot be read"),
        ([*FASTER, "--until-half-width", "0%"], "must lie between 0% and 100%, got '0%'"),
        ([*FASTER, "--until-half-width=-1%"], "must lie between 0% and 100%, got '-1%'"),
        ([*FASTER, *SHARE, "--max-replications", "1"], "--max-replications: must be at least 2, got 1"),
        (["--against-set", "stations.worker.replica=2", *SHARE], "did you mean 'replicas'?"),
        (["--against-set", "stations.wroker.replicas=2", *SHARE], "did you mean 'worker'?"),
        (["--against-set", "stations.worker.replicas", *SHARE], "must be KEY=VALUE, got 'stations.worker.replicas'"),
        (["--against-set", "seed.of=2", *SHARE], "seed: must have keys to set one of them, got 1"),
        (
            ["--against-set", "kpis={other: {from: intended, to: delivered}}", "--against-set", "slo={}", *SHARE],
            "kpis: must name a latency that",
        ),
        ([*SHARE, "--control", "control.yaml"], "--control: must not be given with --until-half-width"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main([*SMALL, "-o", str(tmp_path / "run"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_folder_of_the_other_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run-against").mkdir()
    assert main([*SMALL, *FASTER, *SHARE, "-o", str(tmp_path / "run")]) == 2
    assert "run-against: must not exist yet" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_settings_take_any_yaml_and_leave_the_rest() -> None:
    changed = sentra("stations.worker.replicas=2", "hosts.box={cores: 4, discipline: ps}")
    assert changed.stations["worker"].replicas == 2  # type: ignore[union-attr]
    assert changed.hosts["box"].cores == 4
    assert changed.stations["pricing"] == sentra().stations["pricing"]
    with pytest.raises(ScenarioError, match="test: "):
        sentra("stations.worker.replicas=many")
