"""What the gateway takes and what it refuses, without a gateway: arrays of events in, a reason for each refused one out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline.codec import EventArray, blank_events, decode_request, encode_ingest
from live_adapters.pipeline.ingress.acks import AckBook
from live_adapters.pipeline.ingress.admission import Admission, Marks
from live_adapters.pipeline.ingress.batcher import Batcher, frame_id
from live_adapters.pipeline.ingress.gatemetrics import metrics_text
from live_adapters.pipeline.ingress.gatestate import GateState
from live_adapters.pipeline.ingress.quota import TokenBuckets
from live_adapters.pipeline.ingress.reasons import REASONS, MessageRefused, Reason
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota, parse_rules, rules_data
from live_adapters.pipeline.tokens import TokenError, mint_token
from sentra_sim.errors import InputError
from sentra_sim.units import NS_PER_S

TENANTS = 4


def orders(count: int, **changes: Any) -> EventArray:
    """Events 1 to `count`, tenants in turn, all of them good but for the changes."""
    events = blank_events(count, 64)
    values = {
        "sequence": np.arange(1, count + 1),
        "tenant": np.arange(count) % TENANTS,
        "key": np.arange(count),
        "quantity": 1.0,
        "limit_price": 100.0,
        "session": 1,
    }
    for name, value in {**values, **changes}.items():
        events[name] = value
    return events


def reasons(codes: np.ndarray | None, count: int) -> list[str]:
    """The reason of each event, empty for those that were taken."""
    return [""] * count if codes is None else [REASONS[code - 1].value if code else "" for code in codes.tolist()]


def test_good_events_are_taken_without_a_code() -> None:
    assert Admission(GatewayRules(), TENANTS, 0).judge(orders(8), 0) is None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("sequence", 0, "sequence"),
        ("quantity", np.nan, "not_finite"),
        ("limit_price", -np.inf, "not_finite"),
        ("intended_ns", -1, "time"),
        ("tenant", TENANTS, "unknown_tenant"),
        ("tenant", 2**32 - 1, "unknown_tenant"),
    ],
)
def test_a_bad_event_leaves_its_good_message_alone(field: str, value: float, reason: str) -> None:
    events = orders(5)
    events[field][2] = value
    codes = Admission(GatewayRules(), TENANTS, 0).judge(events, 0)
    assert reasons(codes, 5) == ["", "", reason, "", ""]


def test_an_event_with_several_faults_is_counted_once() -> None:
    events = orders(3)
    events["sequence"][1], events["tenant"][1], events["quantity"][1] = 0, 99, np.nan
    state = GateState(TENANTS)
    codes = Admission(GatewayRules(), TENANTS, 0).judge(events, 0)
    assert codes is not None
    assert state.refuse_events(events, codes) == {"sequence": 1}
    assert state.refused_by_tenant.tolist() == [0, 0, 0, 0, 1]


def test_messages_and_attributes_beyond_the_limits_are_refused_with_their_request_id() -> None:
    admission = Admission(GatewayRules(max_message_bytes=200, max_attribute_bytes=8), TENANTS, 0)
    assert len(admission.read(encode_ingest(orders(2)))[0]) == 2
    with pytest.raises(MessageRefused, match="at most 200 bytes, got 264") as long:
        admission.read(encode_ingest(orders(4)))
    assert long.value.reason is Reason.SIZE
    wide = blank_events(1, 80)
    with pytest.raises(MessageRefused, match="at most 8 bytes, got 18") as refused:
        admission.read(encode_ingest(wide, request_id=5))
    assert (refused.value.reason, refused.value.events, refused.value.request_id) == (Reason.SIZE, 1, 5)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_request_id_comes_with_its_events(count: int) -> None:
    events, request_id = decode_request(encode_ingest(orders(count), request_id=2**64 - 1))
    assert events.tobytes() == orders(count).tobytes()
    assert request_id == 2**64 - 1
    assert decode_request(encode_ingest(orders(count)))[1] is None


def test_a_tenant_within_its_quota_is_served_while_another_is_over_it() -> None:
    admission = Admission(GatewayRules(quotas=(Quota(1, rate_eps=10.0, burst_events=2.0),)), TENANTS, 0)
    events = orders(16)
    codes = admission.judge(events, 0)
    assert codes is not None
    assert np.flatnonzero(codes).tolist() == [9, 13]  # the third and fourth event of tenant 1
    assert set(reasons(codes, 16)) == {"", "quota"}
    assert admission.retry_after_s(events, codes) == pytest.approx(0.2)
    assert admission.judge(orders(4), int(0.09 * NS_PER_S)) is not None
    assert admission.judge(orders(8), int(0.2 * NS_PER_S)) is None


def test_over_a_long_time_a_quota_grants_its_rate_and_one_burst() -> None:
    buckets = TokenBuckets((Quota(0, rate_eps=50.0, burst_events=20.0),), 2, 0)
    message = np.repeat(np.array([0, 1], np.uint32), 10)
    over = [buckets.over(message, step * NS_PER_S // 10) for step in range(101)]
    granted = sum(int((~refused[:10]).sum()) for refused in over)
    assert granted == 50 * 10 + 20
    assert not any(refused[10:].any() for refused in over)


def test_the_lower_class_is_shed_first_as_work_in_flight_grows() -> None:
    rules = GatewayRules(max_in_flight_events=100, silver=(1,), bronze=(2, 3))
    admission = Admission(rules, TENANTS, 0)

    def shed(in_flight_events: int) -> list[int]:
        codes = admission.judge(orders(4), 0, in_flight_events=in_flight_events)
        assert set(reasons(codes, 4)) <= {"", "overload"}
        return [] if codes is None else np.flatnonzero(codes).tolist()

    assert [shed(load) for load in (0, 49, 50, 74, 75, 99, 100)] == [
        [],
        [],
        [2, 3],
        [2, 3],
        [1, 2, 3],
        [1, 2, 3],
        [0, 1, 2, 3],
    ]


def test_a_stream_sends_for_the_tenants_whose_tokens_it_shows() -> None:
    admission = Admission(GatewayRules(token_secret="salt"), TENANTS, 0)
    allowed = admission.allowed(mint_token("salt", [0, 3, TENANTS + 5], 10.0), 9.0)
    assert reasons(admission.judge(orders(5, tenant=[0, 1, 2, 3, 9]), 0, allowed), 5) == [
        "",
        "token",
        "token",
        "",
        "unknown_tenant",
    ]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "token_missing"),
        ("x", "token_malformed"),
        (mint_token("other", [0], 10.0), "token_wrong"),
        (mint_token("salt", [0], 9.0), "token_expired"),
    ],
)
def test_a_token_that_is_not_genuine_lets_nobody_in(token: str, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        Admission(GatewayRules(token_secret="salt"), TENANTS, 0).allowed(token, 9.0)
    assert caught.value.reason == reason


def test_a_token_of_all_tenants_is_as_none_asked_for() -> None:
    assert Admission(GatewayRules(token_secret="salt"), TENANTS, 0).allowed(mint_token("salt", None, 10.0), 9.0) is None
    assert Admission(GatewayRules(), TENANTS, 0).allowed("", 9.0) is None


def test_what_comes_again_behind_later_events_is_refused_not_lost() -> None:
    admission, marks = Admission(GatewayRules(), TENANTS, 0), Marks()

    def offer(sequence: list[int], session: Any = 1) -> list[int]:
        events = orders(len(sequence), sequence=sequence, session=session)
        codes = admission.judge(events, 0, marks=marks)
        taken = events if codes is None else events[codes == 0]
        marks.accept(taken)
        return taken["sequence"].tolist()

    assert offer([1, 2, 5]) == [1, 2, 5]
    assert offer([3, 4, 6, 6, 8, 7]) == [6, 8]
    assert offer([1, 9, 2, 9], session=[2, 1, 2, 1]) == [1, 9, 2]
    assert offer([2, 3], session=2) == [3]


def test_messages_together_are_charged_to_their_quotas_all_or_not_at_all() -> None:
    admission = Admission(GatewayRules(quotas=(Quota(0, rate_eps=1.0, burst_events=3.0),)), TENANTS, 0)
    assert not admission.admit_all(orders(4, tenant=0), 0, 0)
    assert admission.admit_all(orders(3, tenant=0), 0, 0)  # nothing was charged for the four
    assert not admission.admit_all(orders(1, tenant=0), 0, 0)
    assert admission.admit_all(orders(9, tenant=1), 0, 0)  # has no quota
    assert admission.admit_all(orders(1, tenant=0), NS_PER_S, 0)
    assert not admission.admit_all(orders(2, tenant=[1, TENANTS]), 0, 0)


def test_a_message_is_acknowledged_with_the_last_of_its_frames() -> None:
    async def story() -> None:
        batcher, book = Batcher(2, max_events=4, linger_ns=10), AckBook(2)
        first, second = orders(5), orders(1, key=0)
        full, frames = batcher.place(first, np.zeros(5, np.int64), 0)
        one = book.expect(frames.tolist())
        filled, frames = batcher.place(second, np.zeros(1, np.int64), 0)
        two = book.expect(frames.tolist())
        full += filled
        everything = [*full, *batcher.close_all(1)]
        late = {frame.partition for frame in everything}
        assert late == {0, 1}
        for frame in everything:
            assert not one.done()
            book.acked(frame.partition, frame.frame)
        assert one.done()
        assert two.done()
        assert book.expect(batcher.closed_frames()).done()  # nothing is missing
        assert not book.expect([frame_id(0, 99)]).done()

    asyncio.run(story())


def test_rules_survive_their_file_and_tell_what_is_wrong() -> None:
    rules = GatewayRules(silver=(1,), bronze=(2,), quotas=(Quota(3, 5.0, 6.0),), token_secret="k", chaos=True)
    assert parse_rules(json.loads(json.dumps(rules_data(rules)))) == rules
    assert "'k'" not in repr(rules)
    for change, complaint in (
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"drain_s": float("nan")}, "drain_s must be at least 0, got nan"),
        ({"bronze": (1,)}, "a tenant must be of one class"),
        ({"quotas": (Quota(1, 1.0, 1.0), Quota(1, 2.0, 1.0))}, "must name a tenant once"),
    ):
        with pytest.raises(InputError, match=complaint):
            replace(rules, **change)
    with pytest.raises(InputError, match="rate_eps must be above 0"):
        Quota(1, 0.0, 1.0)
    with pytest.raises(InputError, match=r"tenants must be 0 to 2, got \[3\]"):
        Admission(rules, 3, 0)


def test_metrics_name_every_reason_from_the_start_and_never_more_tenants_than_there_are() -> None:
    state = GateState(TENANTS)
    events = orders(3, tenant=[0, 77, 78])
    codes = Admission(GatewayRules(), TENANTS, 0).judge(events, 0)
    assert codes is not None
    state.refuse_events(events, codes)
    text = metrics_text(state, 12)
    for reason in REASONS:
        assert f'sentra_gateway_refused_events_total{{reason="{reason.value}"}} ' in text
    assert 'sentra_gateway_refused_events_total{reason="unknown_tenant"} 2' in text
    assert 'sentra_gateway_refused_tenant_events_total{tenant="unknown"} 2' in text
    assert text.count("refused_tenant_events_total{") == TENANTS + 1
    assert "sentra_gateway_in_flight_events 12\n" in text
