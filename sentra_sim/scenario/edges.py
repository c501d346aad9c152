"""The edge and who listens there."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Delay, Demand, Hop, Model, Name, Noise
from sentra_sim.scenario.stations import Recovery, Station


def _full_jitter() -> Delay:
    return Delay(mean_s=0.5, noise=Noise(dist="quantiles", quantiles=(0.0, 2.0)))


class ServerSentEvents(Model):
    """The part of an edge's subscribers that read server-sent events, `share` of all, of each tenant; the others use WebSocket.

    What an event costs as text (its data in base64, a third longer, and an id) is said by `deliver`, spent by message (`frame_s`)
    and by event to a client (`event_s`), and by `connect`, each in place of the subscribers' own, which holds when left out. Who is
    cut off comes back `retry_s` later, without jitter or backoff, and `retry_s` after that while the edge is down: so does a
    browser's `EventSource` (3 s in Chromium, 5 s in Firefox) with its `Last-Event-ID`. Those cut off together come back together.
    """

    share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    deliver: Demand | None = None
    retry_s: PositiveFloat = 3.0
    connect: Demand | None = None


class Subscribers(Model):
    """The clients of an edge, over WebSocket or server-sent events, each of one tenant, spread evenly over the tenants.

    A poll is one message to each client whose tenant has an event in it; `deliver` is spent by message (`frame_s`), after
    `send`. `slow_share` of the clients read no more than `slow_read_eps` each. What a client has not read waits in its buffer; one with
    more than `buffer_events` in it, not counting what is sent anew, is cut off. It comes back after `reconnect`, doubled
    with each time in a row up to `reconnect_max_s` and then times its noise (by default full jitter), for `connect` by client
    (`frame_s`) and by event that it missed. From its last id on these are sent anew; those older than `hold_s` are gone.
    Tenants fall into `groups`; the slow clients of one are alike. The hops are those of the fast ones. With `sse` the clients
    of a group and transport are alike; of an edge that is down the fast ones too are let in as their transport comes back,
    WebSocket after `reconnect`, and are sent anew what they missed.
    """

    count: PositiveInt = 4
    groups: PositiveInt = 1
    deliver: Demand = Demand()
    slow_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    slow_read_eps: PositiveFloat = 1_000.0
    buffer_events: PositiveFloat = 10_000.0
    hold_s: PositiveFloat = 15.0
    reconnect: Delay = Field(default_factory=_full_jitter)
    reconnect_max_s: PositiveFloat = 30.0
    connect: Demand = Demand()
    sse: ServerSentEvents | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _time_between_attempts(self) -> Self:
        if (
            self.sse is not None and self.reconnect.mean_s == 0.0
        ):  # an edge that is down would be asked for ever at one moment
            raise ValueError("must set reconnect.mean_s above 0 with sse")
        return self


class Broadcast(Station):
    """Fans a poll out to subscribers.

    `handover` from the station before, `send` on the edge's thread, `network`, then `receive` on the subscriber's thread. With
    `subscribers` it matters who they are; a killed edge with `recovery` can then be started again. It does its polls again that were not
    sent, after it has let in its clients: the fast ones at once, the slow ones (with `sse`, all) as they come back.
    """

    kind: Literal["broadcast"]
    subscriber_host: Name
    handover: Delay = Delay()
    send: Demand = Demand()
    network: Delay = Delay()
    receive: Demand = Demand()
    hops: tuple[Hop, Hop] = ("sent", "delivered")
    subscribers: Subscribers | None = Field(default=None, json_schema_extra=LATER)
    recovery: Recovery | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _somebody_to_come_back(self) -> Self:
        if self.recovery is not None and self.subscribers is None:
            raise ValueError("must set subscribers with recovery")
        return self
