"""What a user may give `sentra measure`: a canary, the gateway's rules, a webhook; one line for each mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live_adapters import notifier
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota
from live_adapters.runoptions import canary_weights, read_gateway_rules
from sentra_sim.cli import live, main
from sentra_sim.cli.notices import about_run
from sentra_sim.errors import InputError
from sentra_sim.records import Run, read_run

ROOT = Path(__file__).parents[2]
SENTRA = ROOT / "data" / "scenarios" / "sentra.yaml"
TENANTS = 20

RULES = """
max_in_flight_events: 50000
silver: [1, 2]
bronze: [3]
quotas:
  - {tenant: 4, rate_eps: 1000, burst_events: 500}
token_secret: of-the-run
"""


@pytest.fixture(scope="module")
def recorded() -> Run:
    return read_run(ROOT / "data" / "runs" / "measured-20000")


def rules_of(tmp_path: Path, text: str) -> GatewayRules:
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return read_gateway_rules(file, TENANTS)


def test_a_canary_has_its_share_and_stable_the_rest() -> None:
    assert canary_weights("slower=0.2") == {"stable": 0.8, "slower": 0.2}
    assert canary_weights("good=1") == {"stable": 0.0, "good": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slower", "--canary: must be RELEASE=WEIGHT, got 'slower'; write for example good=0.2"),
        ("slower=much", "--canary: the weight must be a number from 0 to 1, got 'much'; write for example 0.2"),
        ("slower=1.5", "--canary: the weight must be a number from 0 to 1, got '1.5'; write for example 0.2"),
        ("slower=nan", "--canary: the weight must be a number from 0 to 1, got 'nan'; write for example 0.2"),
        ("stable=0.5", "--canary: must name a release beside stable, got 'stable'; stable has the rest"),
    ],
)
def test_what_is_no_canary_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        canary_weights(text)
    assert str(refused.value) == told


def test_an_unknown_release_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"^--canary: .*got 'slowr'; did you mean 'slower'\?$"):
        canary_weights("slowr=0.2")


def test_rules_are_read_from_a_file_and_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    assert rules_of(tmp_path, RULES) == GatewayRules(
        max_in_flight_events=50_000,
        silver=(1, 2),
        bronze=(3,),
        quotas=(Quota(4, 1_000.0, 500.0),),
        token_secret="of-the-run",
    )
    assert rules_of(tmp_path, "{}") == GatewayRules()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("silvr: [1]", "rules.yaml: silvr: unknown key; did you mean 'silver'?"),
        (
            "quotas: [{tenant: 1, rate: 5, burst_events: 5}]",
            "rules.yaml: quotas.0: rate: unknown key; did you mean 'rate_eps'?",
        ),
        ("quotas: [{tenant: 1, rate_eps: 5}]", "rules.yaml: quotas.0.burst_events: missing; add it"),
        ("patience: often", "rules.yaml: patience: must be a valid integer"),
        ("patience: 0", "rules.yaml: gateway rules: patience must be at least 1, got 0"),
        ("silver: [40]", "rules.yaml: gateway rules: tenants must be 0 to 19, got [40]"),
        ("chaos: true\nchaos: false", "rules.yaml line 2: must be YAML, found the key 'chaos' a second time"),
        ("[1]", "rules.yaml: must be a mapping, got [1]"),
        ("a: !!python/object:os.system {}", "rules.yaml line 1: must be YAML, could not determine a constructor"),
    ],
)
def test_rules_that_are_none_are_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        rules_of(tmp_path, text)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read, No such file or directory; name a file"):
        read_gateway_rules(tmp_path / "none.yaml", TENANTS)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--canary", "nobody=0.1", "sentra: --canary: releases: must be one of"),
        ("--gateway-rules", "none.yaml", "sentra: none.yaml: cannot be read"),
        ("--notify", "not-an-address", "sentra: --notify: must be the http or https address of a webhook"),
    ],
)
def test_the_command_says_it_in_one_line_before_it_starts_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, told: str
) -> None:
    assert main(["measure", str(SENTRA), "-o", str(tmp_path / "run"), option, value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


def played(monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path, *options: str) -> dict[str, Any]:
    """Measures without a pipeline; returns what the measurement was asked for, and the notices."""
    asked: dict[str, Any] = {"notices": []}

    def play(scenario: object, **given: Any) -> Run:
        asked.update(given)
        return run

    monkeypatch.setattr(live.load("measure"), "measure", play)
    monkeypatch.setattr(notifier.Notifier, "send", lambda self, notice: asked["notices"].append(notice))
    assert main(["measure", str(SENTRA), "-o", str(tmp_path / "run"), "--json", *options]) == 0
    return asked


def test_a_run_is_played_under_the_rules_and_weights_given(
    monkeypatch: pytest.MonkeyPatch, recorded: Run, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    options = ("--canary", "slower=0.2", "--gateway-rules", str(tmp_path / "rules.yaml"))
    asked = played(monkeypatch, recorded, tmp_path, *options)
    assert asked["release_weights"] == {"stable": 0.8, "slower": 0.2}
    assert asked["gateway_rules"].bronze == (3,)
    plain = played(monkeypatch, recorded, tmp_path)
    assert plain["release_weights"] is plain["gateway_rules"] is None


def invalid(run: Run) -> Run:
    validity = run.manifest.validity.model_copy(
        update={"valid": False, "reasons": ("send delay P99 8.7 ms, allowed 5",)}
    )
    return replace(run, manifest=run.manifest.model_copy(update={"validity": validity}))


def strict(run: Run) -> Run:
    scenario = json.loads(json.dumps(run.manifest.scenario))
    scenario["slo"]["e2e_p95_s"] = {"max": 0.001}
    return replace(run, manifest=run.manifest.model_copy(update={"scenario": scenario}))


def test_a_run_that_is_not_valid_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, recorded: Run, tmp_path: Path
) -> None:
    (notice,) = played(monkeypatch, invalid(recorded), tmp_path, "--notify", "http://127.0.0.1:1/x")["notices"]
    assert (notice.title, notice.severity) == ("measured run is not valid", "warning")
    assert notice.text == "send delay P99 8.7 ms, allowed 5"
    assert notice.fields["rate"] == "20,000 events/s"


def test_a_run_that_misses_its_slo_is_told_with_the_value(recorded: Run) -> None:
    found = about_run(strict(recorded))
    assert found is not None
    assert (found["title"], found["severity"]) == ("measured run misses its SLO", "critical")
    assert "e2e_p95_s" in found["text"]
    assert "bound" in found["fields"]["e2e_p95_s"]


def test_a_run_that_is_well_is_not_told(recorded: Run) -> None:
    assert about_run(recorded) is None
