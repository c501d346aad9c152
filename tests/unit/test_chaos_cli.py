"""`sentra chaos`: what it refuses before anything starts, what it prints, and with which exit code it ends."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live_adapters import chaos
from live_adapters.chaos import Account, Outcome, Played
from sentra_sim.cli import main

SENTRA = str(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
ACCOUNT = Account(1_000, 1_000, 0, 0, 0, 200, 0, (), 0.99)
PLAYED = Played((Outcome("kill-worker", "worker", 3.0, 1.5, "acks: 0 events/s"),), ACCOUNT)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "chaos: must have a fault, --campaign, --rolling-restart or --list, got none"),
        (["kill-moon"], "fault: must be one of kill-leader"),
        (["kill-worker", "--target", "kafka-1"], "--target: must be one of worker"),
        (["--campaign"], "--campaign must have a folder, got none; add -o FOLDER"),
        (["--campaign", "--faults", "0", "-o", "x"], "--faults: must be at least 1, got 0"),
        (["kill-worker", "--rate", "0"], "--rate must be above 0"),
        (["partition-peers"], "partition-peers: must have a proxied stack, got none; run `sentra down`, then"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    rule: str,
) -> None:
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path))
    assert main(["chaos", *arguments]) == 2
    assert rule in capsys.readouterr().err


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"kill-leader", "poison", "disk-full"} <= {fault["name"] for fault in listed}
    assert {fault["name"]: fault["proxied"] for fault in listed}.items() >= {"poison": False, "loss": True}.items()
    assert main(["chaos", "--list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "slow-peers" in line]
    assert "sentra up --proxied" in line


def playing(monkeypatch: pytest.MonkeyPatch, *sessions: Played, error: BaseException | None = None) -> None:
    def run_faults(*_: Any, **__: Any) -> Iterator[Played]:
        yield from sessions
        if error is not None:
            raise error

    monkeypatch.setattr(chaos, "run_faults", run_faults)


def test_a_campaign_in_which_nothing_is_lost_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    playing(monkeypatch, PLAYED, PLAYED)
    out = tmp_path / "campaign"
    assert main(["chaos", "--campaign", "--scenario", SENTRA, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "kill-worker" in shown
    assert "lost 0 · duplicates 0 · repetitions refused 400" in shown
    assert {path.name for path in out.iterdir()} == {"faults.parquet", "campaign.json"}


def test_a_lost_event_fails_the_campaign(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    account = replace(ACCOUNT, lost=1, breaches=("effects: must hold every acknowledged event, got 999 of 1000",))
    playing(monkeypatch, replace(PLAYED, account=account))
    assert main(["chaos", "kill-worker", "--scenario", SENTRA]) == 1
    assert "BREACH effects: must hold every acknowledged event" in capsys.readouterr().out
    assert main(["chaos", "kill-worker", "--scenario", SENTRA, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["lost"] == 1


def test_an_interrupted_campaign_keeps_the_sessions_that_were_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    playing(monkeypatch, PLAYED, error=KeyboardInterrupt())
    out = tmp_path / "campaign"
    assert main(["chaos", "--campaign", "--scenario", SENTRA, "-o", str(out)]) == 130
    assert len(json.loads((out / "campaign.json").read_text(encoding="utf-8"))["sessions"]) == 1
