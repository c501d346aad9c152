"""A measured run with a canary, under gateway rules of the user's."""

from pathlib import Path

import polars as pl
import pytest

from live_adapters import stack as local_stack
from live_adapters.measure import measure
from live_adapters.runoptions import canary_weights, read_gateway_rules
from sentra_sim.scenario import load_scenario

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("brief_rest")]

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"


def test_a_canary_prices_its_share_and_a_tenant_with_a_quota_is_refused_the_rest(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    scenario = load_scenario(SENTRA)
    file = tmp_path / "rules.yaml"
    file.write_text(
        "quotas: [{tenant: 1, rate_eps: 1, burst_events: 10}]\ntoken_secret: of-the-run\n", encoding="utf-8"
    )
    run = measure(
        scenario,
        rate_eps=2_000.0,
        seconds=2.0,
        warmup_s=1.0,
        seed=1,
        out=tmp_path / "run",
        release_weights=canary_weights("good=0.5"),
        gateway_rules=read_gateway_rules(file, scenario.load.tenants),
    )
    counters = run.manifest.counters
    assert counters["refused"] > 0
    assert counters["acked"] == counters["effects"] == counters["sent"] - counters["refused"]
    assert (counters["lost"], counters["duplicates"]) == (0, 0)
    priced = (
        run.tables.metrics.filter(pl.col("name") == "sentra_release_events").group_by("labels").agg(pl.sum("value"))
    )
    shares = dict(priced.iter_rows())
    assert shares['release="canary"'] > 0.1 * sum(shares.values())
