"""What a run spends: of its error budget, and of money."""

from __future__ import annotations

from sentra_sim.scenario import Scenario

BUDGET_DAYS = 30.0  # the window of an objective, over which its budget is to last
SECONDS_PER_HOUR = 3600.0


def budget_per_day(scenario: Scenario, bad_share: float | None) -> float | None:
    """Returns what share of a thirty days' error budget goes in a day at this share of bad events; None without `slo.error_rate.max`.

    The budget is the share of events that may be bad; spending it evenly takes 1/30 a day, a burn rate of 1 (Beyer et al., The
    Site Reliability Workbook, chapter 5).
    """
    bound = scenario.slo.get("error_rate")
    if bad_share is None or bound is None or not bound.max:
        return None
    return bad_share / bound.max / BUDGET_DAYS


def cost_per_hour(scenario: Scenario) -> float | None:
    """Returns what all hosts cost, busy or not, in the currency of `price_per_core_hour`; None where no host has a price."""
    prices = [host.cores * host.price_per_core_hour for host in scenario.hosts.values()]
    return sum(prices) if any(prices) else None


def cost_per_million(scenario: Scenario, throughput_eps: float | None) -> float | None:
    """Returns what a million delivered events cost at a throughput; None without a price or an event."""
    hourly = cost_per_hour(scenario)
    if hourly is None or not throughput_eps:
        return None
    return hourly / (throughput_eps * SECONDS_PER_HOUR) * 1e6
