"""Tables for admission and impatient clients: which copies of events are where. None where nothing is tracked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.admission import tenant_bounds
from sentra_sim.engine.facts import is_tracked, most_sends
from sentra_sim.engine.plan import Plan
from sentra_sim.scenario import Batcher, Source, only
from sentra_sim.scenario.schema import Admission

MESSAGE = np.dtype([(name, np.int64) for name in ("sends", "waits_for", "missing")], align=True)
COPY = np.dtype([(name, np.int64) for name in ("event", "fresh", "next")], align=True)  # of an event, in a frame
TENANT = np.dtype(
    [(name, np.int64) for name in ("in_flight", "reserved", "quota")] + [("bound", np.float64)], align=True
)
PRESSURE = np.dtype(
    [(name, np.int64) for name in ("high", "low", "hold_acks", "backpressure_shed", "backpressure_periods", "acked")]
    + [(name, np.float64) for name in ("poll", "since", "backpressure_s")],
    align=True,
)
BUCKET = np.dtype([(name, np.float64) for name in ("rate", "burst", "tokens", "filled")], align=True)


def pressed(plan: Plan) -> list[str]:
    """Returns the name of the batcher if it is under backpressure."""
    name, batcher = only(plan.scenario, Batcher)
    return [name] if batcher.admission and batcher.admission.backpressure else []


def tracking_arrays(plan: Plan) -> dict[str, NDArray[Any]]:
    """Returns the tables."""
    if not is_tracked(plan.scenario):
        return {}
    messages = np.zeros(len(plan.offered.send_s), MESSAGE)
    messages["missing"] = np.diff(plan.first_event)
    tenants, buckets = _tenants_and_buckets(only(plan.scenario, Batcher)[1].admission or Admission(), plan)
    return {
        "messages": messages,
        "event_copies": np.empty(len(plan.partition) * most_sends(plan.scenario), COPY),
        "event_key": plan.offered.keys.astype(np.int64),
        "event_message": np.ascontiguousarray(plan.offered.message, np.int64),
        # Of whose first copy no acknowledgement comes.
        "event_unheard": np.zeros(len(plan.partition), np.int64),
        "tenants": tenants,
        "buckets": buckets,
        "pressures": _pressures(plan),
    }


def tracking_settings(plan: Plan) -> dict[str, float]:
    """Returns the settings in the state."""
    retry, rules = only(plan.scenario, Source)[1].retry, only(plan.scenario, Batcher)[1].admission
    found: dict[str, float] = {
        "tracked": is_tracked(plan.scenario),
        "gated": rules is not None,
        "retrying": retry is not None,
        "tenant_count": plan.scenario.load.tenants,
        "key_quota": len(rules.quotas) if rules and rules.key_quota else -1,
    }
    recovery = only(plan.scenario, Batcher)[1].recovery
    if recovery:
        found["key_count"] = plan.scenario.load.keys if rules and rules.key_quota else 0
        found |= {"mortal": True, "takes": True, "gateway_up": True, "gateway_restart": recovery.restart_s}
    if retry:
        found |= {
            "retry_timeout": retry.timeout_s,
            "retries": retry.retries,
            "budgeted": retry.budget_ratio is not None,
            "budget_ratio": retry.budget_ratio or 0.0,
            "budget_burst": retry.budget_burst,
            "retry_tokens": retry.budget_burst,
        }
    return found


def _pressures(plan: Plan) -> NDArray[np.void]:
    rules = only(plan.scenario, Batcher)[1].admission
    spec = rules.backpressure if rules else None
    row = np.zeros(1, PRESSURE)
    if spec:
        row["high"], row["low"], row["poll"] = spec.high_events, spec.low_events, spec.poll_s
        row["hold_acks"] = spec.hold_acks
    return row


def _tenants_and_buckets(rules: Admission, plan: Plan) -> tuple[NDArray[np.void], NDArray[np.void]]:
    load = plan.scenario.load
    tenants = np.zeros(load.tenants, TENANT)
    tenants["reserved"], tenants["bound"] = tenant_bounds(rules, load.tenants)
    tenants["quota"] = -1
    each = [rules.key_quota] * load.keys if rules.key_quota else []
    buckets = np.zeros(len(rules.quotas) + len(each) + 1, BUCKET)
    for number, quota in enumerate(rules.quotas):
        tenants["quota"][quota.tenant] = number
        buckets["rate"][number], buckets["burst"][number] = quota.rate_eps, quota.burst_events
    if rules.key_quota:
        buckets["rate"][len(rules.quotas) :] = rules.key_quota.rate_eps
        buckets["burst"][len(rules.quotas) :] = rules.key_quota.burst_events
    buckets["tokens"] = buckets["burst"]
    return tenants, buckets
