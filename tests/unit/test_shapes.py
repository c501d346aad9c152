"""Loads whose rate changes with time: the same events in the generator and both engines, at the rate that the shape says."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from live_adapters.load import MessageSource
from sentra_sim.engine import prepare, run, simulate
from sentra_sim.errors import ScenarioError
from sentra_sim.scenario import load_scenario, parse_scenario, scenario_data, scenario_hash, with_load
from sentra_sim.scenario.arrivals import count_offered, draw_chunks, draw_offered
from sentra_sim.scenario.schema import Load
from tests.pipelines import bare

MMPP = {"kind": "mmpp", "states": [{"rate": 10.0, "mean_s": 0.2}, {"rate": 1.0, "mean_s": 0.6}]}
BURST = {"kind": "burst", "on": 5.0, "on_s": 0.5, "off_s": 1.5, "at_s": 0.25}
RAMP = {"kind": "ramp", "at_s": 1.0, "seconds": 2.0, "after": 3.0}
FLASH = {"kind": "flash", "at_s": 1.0, "factor": 4.0, "rise_s": 0.1, "decay_s": 0.5}
DIURNAL = {"kind": "diurnal", "speedup": 86_400 / 4.0, "amplitude": 0.8}
TRACE = {"kind": "trace", "interval_s": 1.0, "values": [4.0, 0.0, 8.0]}
SHAPES: dict[str, list[dict[str, Any]]] = {
    "mmpp": [MMPP],
    "burst": [BURST],
    "ramp": [RAMP],
    "flash": [FLASH],
    "diurnal": [DIURNAL],
    "trace": [TRACE],
    "all together": [MMPP, BURST, RAMP, FLASH, DIURNAL, TRACE],
}


def shaped(*shapes: dict[str, Any], rate_eps: float = 1_000.0, **load: Any) -> Load:
    return Load.model_validate({"rate_eps": rate_eps, "shape": shapes} | load)


def times(load: Load, seconds: float, seed: int = 1) -> np.ndarray:
    return draw_offered(load, seconds, seed).intended_s


def per_second(load: Load, seconds: int, seed: int = 1) -> list[int]:
    return np.histogram(times(load, seconds, seed), np.arange(seconds + 1))[0].tolist()


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_a_shaped_load_is_the_same_in_pieces_of_any_size(shapes: list[dict[str, Any]], arrivals: str) -> None:
    load = shaped(*shapes, arrivals=arrivals)
    whole = draw_offered(load, 7.3, 5)
    assert (np.diff(whole.intended_s) >= 0.0).all()
    assert 0.0 <= whole.intended_s[0] <= whole.intended_s[-1] < 7.3
    for size in (97, 1_000):
        pieces = list(draw_chunks(load, 7.3, 5, size))
        assert len(pieces) > 3
        for name in ("intended_s", "keys", "send_s"):
            np.testing.assert_array_equal(
                np.concatenate([getattr(piece, name) for piece in pieces]), getattr(whole, name)
            )
    edges = (0.0, 1.1, 5.0, 7.3)
    assert count_offered(load, edges, 5) == tuple(np.histogram(whole.intended_s, edges)[0].tolist())


def test_bursts_come_on_time_and_keep_the_mean_rate() -> None:
    load = shaped({"kind": "burst", "on": 5.0, "on_s": 1.0, "off_s": 3.0, "at_s": 1.0}, rate_eps=2_000.0)
    assert per_second(load, 9) == [1_000, 5_000, 1_000, 1_000, 1_000, 5_000, 1_000, 1_000, 1_000]
    silent = shaped({"kind": "burst", "on": 1.0, "off": 0.0, "on_s": 1.0, "off_s": 1.0}, rate_eps=100.0)
    assert per_second(silent, 4) == [200, 0, 200, 0]


def test_a_ramp_goes_straight_to_its_factor_and_stays() -> None:
    # From 1,000/s at 1 s to 3,000/s at 3 s: 1,500 and 2,500 events in between.
    assert per_second(shaped(RAMP), 5) == [1_000, 1_500, 2_500, 3_000, 3_000]
    gaps = np.diff(times(shaped(RAMP), 5.0))
    assert (np.diff(gaps[1_000:4_999]) < 0.0).all()  # ever shorter, not in stairs


def test_a_flash_crowd_steps_up_and_dies_away_exponentially() -> None:
    load = shaped({"kind": "flash", "at_s": 1.0, "factor": 5.0, "decay_s": 2.0}, rate_eps=10_000.0)
    found = np.array(per_second(load, 10))
    edges = np.arange(1, 11) - 1.0
    extra = 4.0 * 2.0 * (np.exp(-edges[:-1] / 2.0) - np.exp(-edges[1:] / 2.0))
    assert found[0] == 10_000
    np.testing.assert_allclose(found[1:], 10_000 * (1.0 + extra), rtol=3e-4)


def test_a_day_goes_by_in_the_time_that_its_speedup_leaves() -> None:
    day = shaped({"kind": "diurnal", "speedup": 86_400 / 24.0, "amplitude": 0.5, "peak_h": 14.0}, rate_eps=10_000.0)
    found = per_second(day, 48)  # an hour a second
    hours = np.arange(48)
    expected = 1.0 + 0.5 * 12 / np.pi * np.diff(np.sin(2 * np.pi * (np.arange(49) - 14.0) / 24.0))
    np.testing.assert_allclose(found, 10_000 * expected, rtol=1e-3)
    assert int(np.argmax(found[:24])) in (13, 14)
    profile = [float(hour == 12) for hour in range(24)]  # up from 11 to 12, down to 13
    noon = per_second(shaped({"kind": "diurnal", "speedup": 3_600.0, "profile": profile}, rate_eps=1_000.0), 24)
    assert [hours[number] for number in np.flatnonzero(noon)] == [11, 12]
    assert sum(noon) == 24_000
    late = shaped({"kind": "diurnal", "speedup": 3_600.0, "profile": profile, "start_h": 10.5}, rate_eps=1_000.0)
    assert np.flatnonzero(per_second(late, 24)).tolist() == [0, 1, 2]


def test_an_mmpp_has_the_index_of_dispersion_of_its_closed_form() -> None:
    """Heffes & Lucantoni (1986), eq. 4: counts of a two-state MMPP over t; a Poisson process has one at every t."""
    fast, slow = 1.0 / 0.2, 1.0 / 0.6  # rates of leaving the states
    load = shaped(MMPP, rate_eps=200.0, arrivals="poisson", tick_s=0.0)
    mean = (10.0 * 0.2 + 1.0 * 0.6) / 0.8
    one, two = 200.0 * 10.0 / mean, 200.0 * 1.0 / mean
    window_s, seconds = 2.0, 8_000
    counts = np.histogram(times(load, seconds), np.arange(0.0, seconds + 1, window_s))[0]
    assert counts.mean() == pytest.approx(200.0 * window_s, rel=0.04)
    both = fast + slow
    far = 2.0 * (one - two) ** 2 * fast * slow / (both**2 * (one * slow + two * fast))
    expected = 1.0 + far * (1.0 - (1.0 - np.exp(-both * window_s)) / (both * window_s))
    assert expected > 20.0
    assert counts.var() / counts.mean() == pytest.approx(expected, rel=0.1)


def test_a_trace_is_replayed_interval_by_interval_and_begins_again() -> None:
    load = shaped(TRACE, rate_eps=4_000.0)
    assert per_second(load, 7) == [4_000, 0, 8_000, 4_000, 0, 8_000, 4_000]
    fast = shaped(TRACE | {"speedup": 2.0}, rate_eps=4_000.0)
    assert np.histogram(times(fast, 3.0), np.arange(0.0, 3.5, 0.5))[0].tolist() == [2_000, 0, 4_000] * 2
    poisson = np.array(per_second(shaped(TRACE, rate_eps=400.0, arrivals="poisson"), 1_800)).reshape(-1, 3)
    assert (poisson[:, 1] == 0).all()
    assert poisson[:, 2].var() == pytest.approx(800.0, rel=0.25)


def test_shapes_multiply_each_other_and_the_steps() -> None:
    steps = [{"rate_eps": 100.0, "seconds": 2.0}, {"rate_eps": 1_000.0, "seconds": 2.0}]
    burst = {"kind": "burst", "on": 1.5, "off": 0.5, "on_s": 1.0, "off_s": 1.0}
    load = Load.model_validate({"steps": steps, "shape": [burst]})
    assert per_second(load, 4) == [150, 50, 1_500, 500]
    twice = Load.model_validate({"steps": steps, "shape": [burst, burst]})
    assert per_second(twice, 4) == [225, 25, 2_250, 250]


def test_both_engines_play_a_shaped_load() -> None:
    scenario = bare({"load.shape": [MMPP, FLASH], "load.rate_eps": 200.0, "load.arrivals": "poisson"})
    plan = prepare(scenario, seconds=3.0, seed=4)
    one, other = run(plan), run(plan, engine="reference")
    np.testing.assert_array_equal(one.hops_s, other.hops_s)
    assert len(one.frame) == len(draw_offered(scenario.load, 3.0, 4).keys) > 600


def test_the_live_generator_sends_the_very_same_events() -> None:
    load = shaped(MMPP, FLASH, rate_eps=2_000.0, arrivals="poisson", tenants=3, tenant_weights=[3.0, 1.0, 1.0])
    messages = list(MessageSource(load, 3.0, 1_000, 6))
    offered = draw_offered(load, 3.0, 6)
    assert [message.due_ns for message in messages] == (1_000 + np.round(offered.send_s * 1e9)).astype(int).tolist()
    intended_ns = np.concatenate([message.intended_ns for message in messages])
    np.testing.assert_array_equal(intended_ns, 1_000 + np.round(offered.intended_s * 1e9).astype(int))


def test_a_run_knows_what_a_shaped_load_offered_in_its_window() -> None:
    changes = {"load.shape": [RAMP], "load.rate_eps": 100.0, "slo": {"throughput_eps": {"min": 200.0}}}
    tables, manifest = simulate(bare(changes), seconds=2.0, warmup_s=3.0, seed=1)
    assert manifest.offered_events == 600
    assert tables.frames["events"].sum() == 1_100  # with those of the warm-up


# --- traces from files -------------------------------------------------------------------------------------------

HEAD = "TimeStamp,Value,Label\n"
GOOD = HEAD + "".join(f'"2018-04-25T00:0{minute}:00Z",{60 * (minute + 1)},0\n' for minute in range(5))


def scenario_of(folder: Path, csv: str, **trace: Any) -> Path:
    (folder / "series.csv").write_text(csv, encoding="utf-8")
    data = scenario_data(bare({"load.tick_s": 0.002}))
    data["load"].pop("rate_eps")
    data["load"]["shape"] = [{"kind": "trace", "file": "series.csv", "column": "Value"} | trace]
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def test_a_trace_in_a_file_beside_the_scenario_sets_the_rate_unless_told_otherwise(tmp_path: Path) -> None:
    scenario = load_scenario(scenario_of(tmp_path, GOOD))
    assert scenario.load.rate_eps == pytest.approx(3.0)  # 60 to 300 events a minute
    assert np.histogram(times(scenario.load, 300.0), np.arange(0, 301, 60))[0].tolist() == [60, 120, 180, 240, 300]
    scaled = with_load(scenario, rate_eps=30.0)
    assert np.histogram(times(scaled.load, 300.0), np.arange(0, 301, 60))[0].tolist() == [600, 1200, 1800, 2400, 3000]
    fast = load_scenario(scenario_of(tmp_path, GOOD, speedup=60.0, skip_rows=1, take_rows=3))
    assert fast.load.rate_eps == pytest.approx(180.0)
    assert per_second(fast.load, 3) == [120, 180, 240]


def test_a_scenario_s_hash_is_that_of_its_trace_s_data_and_it_can_do_without_the_file(tmp_path: Path) -> None:
    file = scenario_of(tmp_path, GOOD)
    before = load_scenario(file)
    (tmp_path / "series.csv").write_text(GOOD.replace(",180,", ",181,"), encoding="utf-8")
    assert scenario_hash(load_scenario(file)) != scenario_hash(before)
    (tmp_path / "series.csv").unlink()
    assert parse_scenario(scenario_data(before)) == before
    with pytest.raises(ScenarioError, match=r"series.csv' cannot be read, No such file"):
        load_scenario(file)


BAD = {
    "a gap": (GOOD.replace('"2018-04-25T00:02:00Z",180,0\n', ""), r"row 4: .*a gap of 120 s; write gaps: hold or zero"),
    "not a number": (GOOD.replace(",180,", ",n/a,"), r"row 4: Value must be a number, got 'n/a'; "),
    "empty cell": (GOOD.replace(",180,", ",,"), r"row 4: Value must be a number, got ''; "),
    "NaN": (GOOD.replace(",180,", ",nan,"), r"row 4: Value must be finite and >= 0, got nan; "),
    "negative": (GOOD.replace(",180,", ",-1,"), r"row 4: Value must be finite and >= 0, got -1.0; "),
    "twice": (GOOD.replace("00:03:00", "00:02:00"), r"row 5: must differ from the row before, got 0 s; sort"),
    "unsorted": (GOOD.replace("00:03:00", "00:00:30"), r"row 5: must come after the row before, got -90 s; sort"),
    "uneven": (GOOD.replace("00:03:00", "00:03:07"), r"row 5: must follow by 60 s .*, got 67 s; resample"),
    "no time": (GOOD.replace("2018-04-25T00:03:00Z", "noon"), r"row 5: must begin at an ISO 8601 time .*'noon'"),
    "empty": ("", r"series.csv: must be a CSV file with a header, got an empty one; name another file"),
    "header only": (HEAD, r"must hold two rows or more, got 0"),
    "no such column": (
        GOOD.replace("Value", "value"),
        r"must have the column 'Value', got none; did you mean 'value'\?",
    ),
    "all zero": (HEAD + "0,0,0\n60,0,0\n", r"rows 2 to 3: must hold a Value > 0, got zeros; take other rows"),
    "NaN as a time": (HEAD + "0,1,0\nNaN,2,0\n", r"row 3: must begin at .* seconds, got 'NaN'; mend the row"),
    "an infinite time": (HEAD + "0,1,0\ninf,2,0\n", r"row 3: must begin at .* seconds, got 'inf'; mend the row"),
    "a row cut off": (HEAD + "0,1,0\n60\n", r"row 3: Value must be a number, got nothing; "),
    "a comma in a number": (HEAD + "0,1,0\n60,1,000,0\n", r"row 3: must have 3 cells as the header has, got 4; "),
    "dates and seconds": (HEAD + "0,1,0\n2018-04-25,1,0\n", r"row 3: must give its time as the rows before do, got "),
    "a column twice": ("at,Value,Value\n0,1,2\n", r"must have the column 'Value' once, got two; rename one"),
    "semicolons": ("at;Value\n0;1\n", r"must have commas between columns, got 'at;Value'; "),
}


@pytest.mark.parametrize(("csv", "message"), BAD.values(), ids=BAD)
def test_a_bad_series_is_refused_in_one_line_with_its_row(tmp_path: Path, csv: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        load_scenario(scenario_of(tmp_path, csv))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: load.shape.0")


def test_missing_rows_can_be_filled(tmp_path: Path) -> None:
    hole = GOOD.replace('"2018-04-25T00:02:00Z",180,0\n', "")
    values = [load_scenario(scenario_of(tmp_path, hole, gaps=gaps)).load.shape[0].values for gaps in ("zero", "hold")]  # type: ignore[union-attr]
    assert values == [(60.0, 120.0, 0.0, 240.0, 300.0), (60.0, 120.0, 120.0, 240.0, 300.0)]


WRONG = {
    "unknown kind": ({"kind": "mmp"}, r"load.shape.0.kind: must be one of mmpp, .*; did you mean 'mmpp'\?"),
    "unknown key": (FLASH | {"fctor": 2.0}, r"load.shape.0.fctor: unknown key; did you mean 'factor'\?"),
    "one state": (MMPP | {"states": [{"rate": 1.0, "mean_s": 1.0}]}, r"load.shape.0.states: "),
    "no rate": (MMPP | {"states": [{"rate": 0.0, "mean_s": 1.0}] * 2}, r"must hold a state of a rate > 0"),
    "half a day": ({"kind": "diurnal", "profile": [1.0] * 12}, r"must have a profile of 24 hours, not of 12"),
    "two courses": ({"kind": "diurnal", "profile": [1.0] * 24, "amplitude": 0.2}, r"not both"),
    "file and values": (TRACE | {"file": "x.csv"}, r"must name a file or hold interval_s and values, got both"),
}


@pytest.mark.parametrize(("shape", "message"), WRONG.values(), ids=WRONG)
def test_a_shape_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, shape: Any, message: str) -> None:
    data = scenario_data(bare())
    data["load"]["shape"] = [shape]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ScenarioError, match=message) as caught:
        load_scenario(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_public_series_is_replayed(tmp_path: Path) -> None:
    mirror = os.environ.get("SENTRA_DATA_MIRROR")
    if not mirror:
        pytest.skip("SENTRA_DATA_MIRROR names no folder with the public series")
    file = Path(mirror) / "cloud-monitoring" / "ingress-01.csv"
    path = scenario_of(tmp_path, file.read_text(encoding="utf-8"), take_rows=1_440, speedup=14_400.0)
    load = with_load(load_scenario(path), rate_eps=5_000.0).load  # a day in six seconds
    counts = per_second(load, 6)
    assert sum(counts) == pytest.approx(30_000, abs=2)
    assert max(counts) > 1.05 * min(counts)


# --- tenants ----------------------------------------------------------------------------------------------------


def test_tenants_of_given_weights_offer_their_shares_on_their_own_keys() -> None:
    weights = (5.0, 1.0, 0.0, 4.0)
    load = Load(rate_eps=50_000.0, keys=103, key_skew=1.2, tenants=4, tenant_weights=weights)
    keys = draw_offered(load, 2.0, 3).keys
    shares = np.bincount(keys % 4, minlength=4) / len(keys)
    np.testing.assert_allclose(shares, np.array(weights) / 10.0, atol=0.01)
    assert (np.diff(np.bincount(keys[keys % 4 == 0] // 4)[:6]) < 0).all()  # the Zipf law within a tenant
    for wrong, rule in (((1.0,), "all 4 tenants, not of 1"), ((0.0,) * 4, "a tenant of a weight > 0")):
        with pytest.raises(ValueError, match=rule):
            Load(tenants=4, tenant_weights=wrong)


def test_equal_even_gaps_stay_equal_without_any_shape() -> None:
    """The way without a shape is untouched: even gaps are exact multiples."""
    plain = times(Load(rate_eps=777.0), 2.0)
    assert all(here == number / 777.0 for number, here in enumerate(plain.tolist()))
    ones = times(shaped({"kind": "trace", "interval_s": 0.1, "values": [1.0]}, rate_eps=777.0), 2.0)
    np.testing.assert_allclose(plain, ones, atol=1e-9)
    assert all(one < other for one, other in pairwise(ones.tolist()))
