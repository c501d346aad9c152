"""Why the gateway refuses: a reason for every event or message that it does not take."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reasons, in the order in which they are looked at: an event is counted under the first that holds."""

    MALFORMED = "malformed"  # no serialised IngestRequest, or one that holds neither events nor a request id
    MISSING_FIELD = "missing_field"
    SIZE = "size"  # of the message or of the attributes
    SEQUENCE = "sequence"  # zero
    NOT_FINITE = "not_finite"  # quantity or limit price
    TIME = "time"  # intended time beyond a signed 64-bit number
    UNKNOWN_TENANT = "unknown_tenant"
    TOKEN = "token"  # of a tenant for which the stream has shown none
    STALE_SEQUENCE = "stale_sequence"  # not above what this stream has had accepted of the session
    CHAOS = "chaos"
    OVERLOAD = "overload"  # too much in flight for the tenant's class
    QUOTA = "quota"


REASONS = tuple(Reason)
CODE = {reason: number for number, reason in enumerate(REASONS, start=1)}  # 0 is no refusal
TEMPORARY = frozenset({Reason.CHAOS, Reason.OVERLOAD, Reason.QUOTA})  # may be sent again later


class MessageRefused(ValueError):  # noqa: N818 - not a failure: an answer
    """A whole message is refused.

    Attributes:
        reason: Why.
        events: How many events it holds, as far as it could be read.
        request_id: The client's own id of it, if it could be read.
    """

    def __init__(self, reason: Reason, detail: str, events: int = 0, request_id: int | None = None) -> None:
        super().__init__(detail)
        self.reason, self.events, self.request_id = reason, events, request_id
