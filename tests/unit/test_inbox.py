"""Messages that are taken together get the answers that each would have got alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live_adapters.pipeline.codec import blank_events, decode_request, decode_together, encode_ingest
from live_adapters.pipeline.ingress.batcher import Frame
from live_adapters.pipeline.ingress.exchange import Exchange
from live_adapters.pipeline.ingress.inbox import MOST_BYTES, Inbox
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.ingress.reasons import MessageRefused
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota
from tests.unit.held_gateway import SCENARIO, config_of

TENANTS = SCENARIO.load.tenants
RULES = (
    GatewayRules(),
    GatewayRules(max_in_flight_events=12, bronze=(1,), silver=(2,)),
    GatewayRules(quotas=(Quota(0, rate_eps=1e-9, burst_events=3), Quota(1, rate_eps=1e-9, burst_events=5))),
    GatewayRules(max_attribute_bytes=3, max_message_bytes=140),
)


@dataclass(frozen=True)
class Sent:
    """A message of a story: who sends it, and what is in it."""

    stream: int
    count: int
    first: int  # its first sequence; 0 for the next one
    tenant: int
    bad: str  # a field that is set to a bad value in its last event, or none
    with_id: bool
    event_bytes: int

    def encoded(self) -> bytes:
        events = blank_events(self.count, self.event_bytes)
        events["sequence"] = np.arange(self.first, self.first + self.count)
        events["key"] = 7 * events["sequence"]
        events["tenant"], events["session"] = self.tenant, self.stream
        events["quantity"] = events["limit_price"] = 1.0
        if self.bad == "message":
            return encode_ingest(events)[:-1] + b"\x07"
        if self.bad:
            events[self.bad][-1:] = {"sequence": 0, "quantity": np.nan, "tenant": 99, "session": 77}[self.bad]
        return encode_ingest(events, request_id=self.first if self.with_id else None)


sent = st.builds(
    Sent,
    stream=st.integers(0, 2),
    count=st.sampled_from((1, 1, 1, 2, 0)),
    first=st.sampled_from((0,) * 9 + (1, 5)),
    tenant=st.integers(0, 3),
    bad=st.sampled_from(("",) * 30 + ("sequence", "quantity", "tenant", "session", "message")),
    with_id=st.booleans(),
    event_bytes=st.sampled_from((64, 64, 64, 70)),
)


@dataclass
class Outcome:
    """What came of a story: by stream its answers, what it counted, the events of every partition in their order."""

    answers: list[list[Any]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    events: dict[int, list[bytes]] = field(default_factory=dict)
    waits: list[list[set[int]]] = field(default_factory=list)


def play(scratch: Path, rules: GatewayRules, story: list[Sent], together: bool) -> Outcome:
    """Puts a story's messages into the inbox of a gateway, all at once or one after another."""

    async def main() -> Outcome:
        intake = Intake(config_of(scratch, rules), None)
        put: list[Frame] = []

        def keep(frames: list[Frame]) -> None:
            put.extend(frames)
            intake.sender.unacked_events += sum(len(frame.events) for frame in frames)

        intake.sender.put = keep  # type: ignore[method-assign]
        inbox = Inbox(intake)
        streams = [Exchange(inbox, intake, None, None if number else np.arange(TENANTS) != 3) for number in range(3)]
        inbox._took_ns = 1 << 62  # a message has just been taken: the next ones wait
        for message in story:
            inbox.put(streams[message.stream], message.encoded())
            if not together:
                inbox.empty()
                inbox._took_ns = 1 << 62
        inbox.empty()
        await intake.sender.close()
        intake.close()
        frames = put + intake._batcher.close_all(0)
        outcome = Outcome(
            answers=[[ack for ack, _ in stream._answers] for stream in streams], counters=intake.state.counters()
        )
        outcome.waits = [[set(frames) for _, frames in stream._answers] for stream in streams]
        for frame in frames:
            outcome.events.setdefault(frame.partition, []).extend(event.tobytes() for event in frame.events)
        return outcome

    return asyncio.run(main())


def numbered(story: list[Sent]) -> list[Sent]:
    return [replace(message, first=message.first or 10 + 3 * place) for place, message in enumerate(story)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(sent, max_size=15), rules=st.sampled_from(RULES))
def test_a_stream_gets_the_answers_that_it_would_get_message_by_message(
    tmp_path: Path, story: list[Sent], rules: GatewayRules
) -> None:
    # One stream: which of two takes the last room or token is no promise.
    own = numbered([replace(message, stream=0) for message in story])
    assert play(tmp_path, rules, own, True) == play(tmp_path, rules, own, False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(sent, max_size=30))
def test_streams_do_not_touch_each_other(tmp_path: Path, story: list[Sent]) -> None:
    story = numbered(story)
    all_of_them = play(tmp_path, GatewayRules(), story, True)
    for stream in range(3):
        own = play(tmp_path, GatewayRules(), [message for message in story if message.stream == stream], True)
        assert all_of_them.answers[stream] == own.answers[stream]


def test_a_message_waits_for_each_frame_that_holds_an_event_of_it_and_for_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        intake = Intake(config_of(tmp_path, GatewayRules()), None)
        inbox = Inbox(intake)
        stream = Exchange(inbox, intake, None, None)
        inbox._took_ns = 1 << 62
        for number in range(5):
            inbox.put(stream, Sent(0, 3, 1 + 3 * number, 0, "", False, 64).encoded())
        inbox.empty()
        frames = intake._batcher.close_all(0)
        held = {int(event["sequence"]): frame.frame for frame in frames for event in frame.events}
        assert [set(waits) for _, waits in stream._answers] == [
            {held[sequence] for sequence in range(1 + 3 * number, 4 + 3 * number)} for number in range(5)
        ]
        await intake.sender.close()
        intake.close()

    asyncio.run(main())


def test_a_message_after_a_pause_does_not_wait_and_those_soon_after_it_do(tmp_path: Path) -> None:
    async def main() -> None:
        intake = Intake(config_of(tmp_path, GatewayRules()), None)
        clock = iter([10**9] * 1_000)  # no time passes, but for the loop
        inbox = Inbox(intake, lambda: next(clock))
        stream = Exchange(inbox, intake, None, None)
        messages = [Sent(0, 1, number, 0, "", False, 64).encoded() for number in range(1, 1_000)]
        inbox.put(stream, messages[0])
        assert intake.state.received_events == 1
        inbox.put(stream, messages[1])
        inbox.put(stream, messages[2])
        assert intake.state.received_events == 1
        while intake.state.received_events < 3:
            await asyncio.sleep(0.001)
        put = 3
        while intake.state.received_events == 3:  # so much together goes at once
            inbox.put(stream, messages[put])
            put += 1
        assert intake.state.received_events == put == 4 + MOST_BYTES // len(messages[0])
        await intake.sender.close()
        intake.close()

    asyncio.run(main())


@given(st.lists(st.binary(max_size=150), min_size=1, max_size=3))
def test_what_is_no_request_is_none_together_either(messages: list[bytes]) -> None:
    messages = [message[: len(messages[0])].ljust(len(messages[0]), b"\0") for message in messages]
    if messages[0] and decode_together(messages) is not None:
        for message in messages:
            decode_request(message)


@pytest.mark.parametrize("request_id", [None, 2**64 - 1])
def test_requests_of_one_length_are_decoded_as_each_alone(request_id: int | None) -> None:
    requests = [encode_ingest(events_from(first), request_id) for first in (1, 4, 7)]
    decoded = decode_together(requests)
    assert decoded is not None
    events, ids = decoded
    for request, row in zip(requests, events, strict=True):
        alone, own_id = decode_request(request)
        assert alone.tobytes() == row.tobytes()
        assert own_id == request_id
    assert ids == ([] if request_id is None else [request_id] * 3)
    assert decode_together([*requests[:2], b"\x07" * len(requests[0])]) is None
    with pytest.raises(MessageRefused):
        decode_request(b"\x07" * len(requests[0]))


def events_from(first: int) -> np.ndarray:
    events = blank_events(3, 66)
    events["sequence"] = np.arange(first, first + 3)
    return events
