"""The process that checks a run while it goes on (`measure --audit`): it follows the topic and the subscriber feed of all tenants."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import Batch
from live_adapters.pipeline.consumer.wholebatches import install
from live_adapters.pipeline.edge.broadcast import decode_message
from live_adapters.pipeline.edge.position import everyone, offsets_text, parse_position
from live_adapters.pipeline.edge.subscription import WEBSOCKET_PATH
from live_adapters.pipeline.hoplog import HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.tokens import mint_token
from live_adapters.verify.audit import AUDIT_KEYS, AUDITOR, Audit
from live_adapters.verify.replay import PartitionLog
from live_adapters.verify.topic import decode

REPORT_S, POLL_MS, PAUSE_S, FINISH_S = 1.0, 200, 0.1, 8.0
TOKEN_S = 7200.0
MAX_BATCHES = 500


class Feed(WSListener):
    """The subscriber feed, from the last position that the edge told."""

    def __init__(self, config: RunConfig, audit: Audit) -> None:
        self._config, self._audit = config, audit
        self._complete: dict[int, int] = {}

    @property
    def url(self) -> str:
        """What to connect to now."""
        config = self._config
        token = mint_token(config.edge_secret, None, time.time() + TOKEN_S)
        resume = f"&gap=skip&from={everyone(offsets_text(self._complete))}" if self._complete else ""
        return f"ws://{config.host}:{config.fanout_port}{WEBSOCKET_PATH}?token={token}{resume}"

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Takes a message."""
        if frame.msg_type == WSMsgType.BINARY:
            tenant, shares, _ = decode_message(frame.get_payload_as_bytes())
            self._audit.deliver(tenant, shares)
        elif frame.msg_type == WSMsgType.TEXT:
            said = json.loads(frame.get_payload_as_utf8_text())
            if "position" in said:
                self._complete = dict(parse_position(str(said["position"])).of(0))


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Follows until asked to stop, then to the end of the log."""
    install()
    audit = Audit()
    feed = Feed(config, audit)
    transport = await _connect(feed)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.kafka, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100
    )
    await consumer.start()
    partitions = [TopicPartition(config.topic, number) for number in range(config.partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    listening = asyncio.create_task(_listen(feed, transport))
    reporting = asyncio.create_task(_report(audit, life))
    life.ready()
    try:
        reached = dict.fromkeys(partitions, 0)
        while not life.stopping:
            await _read(consumer, audit, reached)
        ends, until = await consumer.end_offsets(partitions), time.monotonic() + FINISH_S
        while any(reached[tp] < ends[tp] for tp in partitions) and time.monotonic() < until:
            await _read(consumer, audit, reached)
        audit.counters["unread"] += sum(max(0, ends[tp] - reached[tp]) for tp in partitions)
    finally:
        for task in (listening, reporting):
            task.cancel()
        await consumer.stop()
        HopLog(config.scratch, *AUDIT_KEYS).append(audit.keys())
        life.report(audit.report())


async def _read(consumer: Any, audit: Audit, reached: dict[TopicPartition, int]) -> None:
    found: dict[TopicPartition, list[Batch]] = await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_BATCHES)
    for tp, batches in found.items():
        events, offsets, unreadable = decode(batches)
        first, reached[tp] = batches[0].first_offset, batches[-1].next_offset
        audit.read(PartitionLog(tp.partition, first, reached[tp], True, events, offsets, unreadable))


async def _report(audit: Audit, life: Lifecycle) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        life.report(audit.report())


async def _connect(feed: Feed) -> WSTransport:
    while True:
        try:
            transport, _ = await ws_connect(lambda: feed, feed.url)
        except (OSError, WSError):
            await asyncio.sleep(PAUSE_S)
        else:
            return transport


async def _listen(feed: Feed, transport: WSTransport) -> None:
    while True:
        await transport.wait_disconnected()
        transport = await _connect(feed)


if __name__ == "__main__":
    run_process(AUDITOR, serve)
