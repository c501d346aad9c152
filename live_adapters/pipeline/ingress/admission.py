"""What the gateway takes: every event of a message gets a code, all at once; no event is looked at one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray, decode_request
from live_adapters.pipeline.ingress.quota import TokenBuckets
from live_adapters.pipeline.ingress.reasons import CODE, MessageRefused, Reason
from live_adapters.pipeline.ingress.rules import GatewayRules
from live_adapters.pipeline.tokens import read_token

SILVER_SHARE, BRONZE_SHARE = 0.75, 0.5  # of the bound on events in flight
_FIXED_BYTES = 62  # of an event without its attributes

Codes = NDArray[np.uint8]  # shape (events,), 0 or the code of a Reason
Allowed = NDArray[np.bool_]  # shape (tenants,)


class Marks:
    """The highest sequence that a stream has had accepted, by session.

    The worker takes nothing at or below a session's mark, as that is a repetition. So an event that was refused and comes
    again under its old number, behind later ones, must not be acknowledged: it would have no effect.
    """

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}

    def stale(self, events: EventArray) -> NDArray[np.bool_]:
        """Tells which events do not rise above the mark and above those before them, shape (events,)."""
        stale = np.zeros(len(events), dtype=np.bool_)
        for session, mine in _by_session(events):
            sequence = events["sequence"][mine]
            before = np.empty_like(sequence)
            before[0], before[1:] = self._highest.get(session, 0), sequence[:-1]
            stale[mine] = sequence <= np.maximum.accumulate(before)
        return stale

    def highest(self, session: int) -> int:
        """Returns a session's mark, 0 when it has none."""
        return self._highest.get(session, 0)

    def raise_to(self, session: int, sequence: int) -> None:
        """Raises a session's mark."""
        self._highest[session] = sequence

    def accept(self, events: EventArray) -> None:
        """Raises the marks to these events, which are not stale."""
        for session, mine in _by_session(events):
            self._highest[session] = int(events["sequence"][mine][-1])


class Admission:
    """Checks messages and events against the rules of a gateway."""

    def __init__(self, rules: GatewayRules, tenants: int, now_ns: int) -> None:
        rules.check_tenants(tenants)
        self._rules = rules
        self.tenants = tenants
        self.buckets = TokenBuckets(rules.quotas, tenants, now_ns) if rules.quotas else None
        share = np.ones(tenants)
        share[list(rules.silver)], share[list(rules.bronze)] = SILVER_SHARE, BRONZE_SHARE
        self._most_in_flight = share * rules.max_in_flight_events
        self.least_bound = float(self._most_in_flight.min())

    def allowed(self, token: str, now_s: float) -> Allowed | None:
        """Returns which tenants a stream may send for, None for all.

        Args:
            token: As the stream has shown it, empty for none.
            now_s: Unix seconds; a token is looked at once, when the stream begins.

        Raises:
            TokenError: tokens are asked for, and there is none, or one that is not genuine.
        """
        if not self._rules.token_secret:
            return None
        grant = read_token(self._rules.token_secret, token, now_s)
        if grant.tenants is None:
            return None
        return np.isin(np.arange(self.tenants), list(grant.tenants))

    def read(self, message: bytes) -> tuple[EventArray, int | None]:
        """Reads a message into its events and its request id.

        Raises:
            MessageRefused: it is too long, or no request with all fields of every event.
        """
        if len(message) > self._rules.max_message_bytes:
            raise MessageRefused(
                Reason.SIZE, f"a message must have at most {self._rules.max_message_bytes} bytes, got {len(message)}"
            )
        events, request_id = decode_request(message)
        if events.itemsize - _FIXED_BYTES > self._rules.max_attribute_bytes:
            raise MessageRefused(
                Reason.SIZE,
                f"attributes must have at most {self._rules.max_attribute_bytes} bytes, got {events.itemsize - _FIXED_BYTES}",
                len(events),
                request_id,
            )
        return events, request_id

    def judge(
        self,
        events: EventArray,
        now_ns: int,
        allowed: Allowed | None = None,
        marks: Marks | None = None,
        in_flight_events: int = 0,
    ) -> Codes | None:
        """Returns the code of each event, or None when all are taken.

        Args:
            events: Of one message.
            now_ns: Monotonic time, for the quotas.
            allowed: Tenants that the stream may send for; None for all.
            marks: Of the stream; None does not look at repetitions.
            in_flight_events: Not yet acknowledged; zero sheds nothing.
        """
        if not len(events):
            return None
        plain = self._plain(events)
        narrow = allowed is not None or marks is not None or self.buckets is not None
        if plain and not narrow and in_flight_events < self.least_bound:
            return None
        codes = np.zeros(len(events), dtype=np.uint8) if plain else self._schema_codes(events)
        if allowed is not None:
            _mark(codes, Reason.TOKEN, lambda left: ~allowed[events["tenant"][left]])
        if marks is not None:
            _mark(codes, Reason.STALE_SEQUENCE, lambda left: marks.stale(events[left]))
        if in_flight_events >= self.least_bound:
            _mark(codes, Reason.OVERLOAD, lambda left: self._most_in_flight[events["tenant"][left]] <= in_flight_events)
        if (buckets := self.buckets) is not None:
            _mark(codes, Reason.QUOTA, lambda left: buckets.over(events["tenant"][left], now_ns))
        return codes if codes.any() else None

    def takes_size(self, message_bytes: int, event_bytes: int) -> bool:
        """Tells whether `read` takes a message, and events, of this length."""
        most = self._rules.max_message_bytes
        return message_bytes <= most and event_bytes - _FIXED_BYTES <= self._rules.max_attribute_bytes

    def admit_all(self, events: EventArray, now_ns: int, in_flight_events: int) -> bool:
        """Tells whether `judge` takes all of these events, of several messages, what their streams may send aside.

        Only then their tenants' quotas are charged.
        """
        if in_flight_events + len(events) > self.least_bound or not self._plain(events):
            return False
        return self.buckets is None or self.buckets.take_all(events["tenant"], now_ns)

    def retry_after_s(self, events: EventArray, codes: Codes) -> float:
        """Returns how long a client should wait before it sends again what may be taken later; 0 when nothing may."""
        wait_s = 0.0
        if (codes == CODE[Reason.OVERLOAD]).any():
            wait_s = self._rules.retry_after_s
        over = codes == CODE[Reason.QUOTA]
        if self.buckets is not None and over.any():
            wait_s = max(wait_s, self.buckets.wait_s(events["tenant"][over]))
        return wait_s

    def _plain(self, events: EventArray) -> bool:
        """Tells whether every event has values that can be priced and ordered, at the least cost."""
        return bool(
            events["sequence"].min() > 0
            and events["tenant"].max() < self.tenants
            and events["intended_ns"].min() >= 0
            and np.isfinite(events["quantity"]).all()
            and np.isfinite(events["limit_price"]).all()
        )

    def _schema_codes(self, events: EventArray) -> Codes:
        finite = np.isfinite(events["quantity"]) & np.isfinite(events["limit_price"])
        broken = (
            (Reason.SEQUENCE, events["sequence"] == 0),
            (Reason.NOT_FINITE, ~finite),
            (Reason.TIME, events["intended_ns"] < 0),
            (Reason.UNKNOWN_TENANT, events["tenant"] >= self.tenants),
        )
        choices = [np.uint8(CODE[reason]) for reason, _ in broken]
        return np.asarray(np.select([mask for _, mask in broken], choices, default=np.uint8(0)), dtype=np.uint8)


def _mark(codes: Codes, reason: Reason, broken: Callable[[NDArray[np.intp]], NDArray[np.bool_]]) -> None:
    """Gives the code of a reason to those events that have none yet and break its rule."""
    left = np.flatnonzero(codes == 0)
    if len(left):
        codes[left[broken(left)]] = CODE[reason]


def _by_session(events: EventArray) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
    """Yields each session of a message and where its events are."""
    sessions = events["session"]
    if not len(sessions):
        return
    if sessions.min() == sessions.max():  # the common case
        yield int(sessions[0]), slice(None)
        return
    for session in np.unique(sessions):
        yield int(session), np.flatnonzero(sessions == session)
