"""What a Grafana dashboard asks Prometheus for: the metric names in its queries, read by a small tokenizer."""

import json
import re
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[2] / "data" / "grafana" / "sentra.json"
# Of PromQL, what the dashboard uses; whatever else a query holds must be a metric, or the test says so.
WORDS = {"sum", "max", "min", "avg", "count", "by", "without", "rate", "increase", "histogram_quantile", "label_values"}
_TOKEN = re.compile(
    r"""(?P<labels>\{[^}]*\}) | (?P<range>\[[^\]]*\]) | (?P<grouping>\b(?:by|without)\s*\([^)]*\))
    | (?P<text>"[^"]*") | (?P<name>[a-zA-Z_:][\w:]*) | (?P<number>[\d.]+) | (?P<sign>[-+*/(),<>=!]) | (?P<space>\s+)""",
    re.VERBOSE,
)


def dashboard() -> Any:
    """The dashboard as Grafana imports it."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def queries() -> dict[str, str]:
    """Every query by its panel's title and letter."""
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel["targets"]}


def metric_names(query: str) -> set[str]:
    """The names of the metrics in a query."""
    names, at = set(), 0
    while at < len(query):
        token = _TOKEN.match(query, at)
        if token is None:
            raise ValueError(f"query: must be PromQL that the dashboard uses, got {query[at:]!r}")
        if token["name"] and token["name"] not in WORDS:
            names.add(token["name"])
        at = token.end()
    return names
