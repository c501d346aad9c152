"""The generator that outlives the gateway, against a gateway that breaks off, forgets and ends: every message gets its answer."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from live_adapters.load import MessageSource, Pacer
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import decode_request
from live_adapters.pipeline.hoplog import ACKS, GENERATOR_ACKS, GENERATOR_MESSAGES, HopLog, read_log
from live_adapters.resend import ACKED, REFUSED, UNKNOWN, AckBook, Resender
from sentra_sim.scenario.arrivals import draw_offered
from sentra_sim.scenario.schema import Load

LOAD = Load(rate_eps=1_000.0, tick_s=0.01, keys=100, tenants=2)
SECONDS = 1.0
OFFERED = draw_offered(LOAD, SECONDS, 1)
MESSAGES = len(OFFERED.send_s)


class Rules:
    token_secret = ""


class Config:
    """The part of a run's configuration that the generator's streams need."""

    host, seed, gateway_rules = "127.0.0.1", 1, Rules()

    def __init__(self, port: int) -> None:
        self.gateway_port = port


class Gateway:
    """Answers each message, and breaks a stream off after so many of them; keeps what it took."""

    def __init__(self, breaks_after: list[int], *, lose_answers: int = 0) -> None:
        self.breaks_after = breaks_after
        self.lose_answers = lose_answers
        self.streams: list[list[int]] = []  # first sequences of the messages, by stream
        self.server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.stream_stream_rpc_method_handler(
            self.exchange, response_serializer=events_pb2.IngestAck.SerializeToString
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("sentra.v1.Ingest", {"Exchange": handler}),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def exchange(self, messages: Iterator[bytes], context: Any) -> Iterator[events_pb2.IngestAck]:
        came: list[int] = []
        self.streams.append(came)
        limit = self.breaks_after.pop(0) if self.breaks_after else None
        for number, message in enumerate(messages, start=1):
            events, _ = decode_request(message)
            came.append(int(events["sequence"][0]))
            if limit is not None and number > limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
            if limit is None or number <= limit - self.lose_answers:
                yield events_pb2.IngestAck(message=number, acked_events=len(events))


def resender(gateway: Gateway, folder: Path) -> Resender:
    epoch_ns = time.monotonic_ns()
    source = MessageSource(LOAD, SECONDS, epoch_ns, 1)
    pacer = Pacer(source, HopLog(folder, *GENERATOR_MESSAGES), lambda: False, epoch_ns)
    config: Any = Config(gateway.port)
    return Resender(config, pacer, AckBook(HopLog(folder, *GENERATOR_ACKS)), threading.Event())


@pytest.mark.parametrize(("breaks_after", "lose_answers"), [([], 0), ([10, 25], 0), ([30], 12)])
def test_every_message_is_answered_once_and_streams_go_on_from_the_first_unanswered(
    tmp_path: Path, breaks_after: list[int], lose_answers: int
) -> None:
    gateway = Gateway(list(breaks_after), lose_answers=lose_answers)
    sending = resender(gateway, tmp_path)
    sending.run()
    gateway.server.stop(None).wait()

    acks = read_log(tmp_path, *GENERATOR_ACKS)
    assert acks["message"].tolist() == list(range(MESSAGES))
    assert set(acks["state"]) == {ACKED}
    assert acks["last"].tolist() == np.cumsum(np.bincount(OFFERED.message)).tolist()
    assert acks["first"].tolist() == [1, *(acks["last"][:-1] + 1).tolist()]
    assert sending.book.acked_events == len(OFFERED.keys)
    assert len(gateway.streams) == len(breaks_after) + 1
    for came in gateway.streams:
        assert came == sorted(set(came))
    for before, after, limit in zip(gateway.streams, gateway.streams[1:], breaks_after, strict=False):
        answered = limit - lose_answers  # gRPC may drop answers in flight, so the next stream may begin earlier
        assert after[0] <= before[answered] if answered < len(before) else after[0] > before[-1]


def test_a_forgetful_client_sends_again_what_was_answered_already(tmp_path: Path) -> None:
    gateway = Gateway([])
    sending = resender(gateway, tmp_path)
    threading.Timer(0.4, sending.repeated.set).start()
    sending.run()
    gateway.server.stop(None).wait()
    first, second = gateway.streams
    assert second[0] == first[0]
    assert set(first) <= set(second)
    assert len(read_log(tmp_path, *GENERATOR_ACKS)) == MESSAGES


def test_old_messages_in_a_wrong_order_come_on_streams_of_their_own(tmp_path: Path) -> None:
    gateway = Gateway([])
    sending = resender(gateway, tmp_path)
    threading.Timer(0.5, sending.misordered.set).start()
    sending.run()
    gateway.server.stop(None).wait()
    singles = [came[0] for came in gateway.streams if len(came) == 1]
    assert len(singles) == 20
    assert singles != sorted(singles)
    assert len(read_log(tmp_path, *GENERATOR_ACKS)) == MESSAGES


def test_a_book_tells_refused_from_unknown_and_counts_a_message_once(tmp_path: Path) -> None:
    book = AckBook(log := HopLog(tmp_path, *GENERATOR_ACKS))
    for number in range(3):
        book.keep(number, b"%d" % number, 10 * (number + 1))
    book.answer(0, events_pb2.IngestAck(acked_events=10), 5)
    book.answer(0, events_pb2.IngestAck(acked_events=10), 6)
    book.answer(1, events_pb2.IngestAck(acked_events=4, refused_events=6), 7)
    assert book.unanswered == [(2, b"2")]
    assert book.answered == [(0, b"0")]
    book.give_up(8)
    log.close()
    rows = read_log(tmp_path, *GENERATOR_ACKS)
    expected = np.array([(0, 1, 10, 5, ACKED), (1, 11, 20, 7, REFUSED), (2, 21, 30, 8, UNKNOWN)], dtype=ACKS)
    assert rows.tolist() == expected.tolist()
    assert (book.acked_events, book.refused_events) == (14, 6)
