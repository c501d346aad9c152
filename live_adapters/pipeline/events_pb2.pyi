from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("sequence", "intended_ns", "tenant", "key", "quantity", "limit_price", "frame", "session", "attributes")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INTENDED_NS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    intended_ns: int
    tenant: int
    key: int
    quantity: float
    limit_price: float
    frame: int
    session: int
    attributes: bytes
    def __init__(self, sequence: _Optional[int] = ..., intended_ns: _Optional[int] = ..., tenant: _Optional[int] = ..., key: _Optional[int] = ..., quantity: _Optional[float] = ..., limit_price: _Optional[float] = ..., frame: _Optional[int] = ..., session: _Optional[int] = ..., attributes: _Optional[bytes] = ...) -> None: ...

class IngestRequest(_message.Message):
    __slots__ = ("events", "request_id")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    request_id: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., request_id: _Optional[int] = ...) -> None: ...

class IngestSummary(_message.Message):
    __slots__ = ("received_events", "acked_events", "refused_events", "refused_by_reason")
    class RefusedByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RECEIVED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    ACKED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    received_events: int
    acked_events: int
    refused_events: int
    refused_by_reason: _containers.ScalarMap[str, int]
    def __init__(self, received_events: _Optional[int] = ..., acked_events: _Optional[int] = ..., refused_events: _Optional[int] = ..., refused_by_reason: _Optional[_Mapping[str, int]] = ...) -> None: ...

class IngestAck(_message.Message):
    __slots__ = ("request_id", "message", "acked_events", "refused_events", "refused_by_reason", "refused_positions", "code", "retry_after_ms", "detail", "more")
    class RefusedByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACKED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSED_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    message: int
    acked_events: int
    refused_events: int
    refused_by_reason: _containers.ScalarMap[str, int]
    refused_positions: _containers.RepeatedScalarFieldContainer[int]
    code: int
    retry_after_ms: int
    detail: str
    more: _containers.RepeatedCompositeFieldContainer[IngestAck]
    def __init__(self, request_id: _Optional[int] = ..., message: _Optional[int] = ..., acked_events: _Optional[int] = ..., refused_events: _Optional[int] = ..., refused_by_reason: _Optional[_Mapping[str, int]] = ..., refused_positions: _Optional[_Iterable[int]] = ..., code: _Optional[int] = ..., retry_after_ms: _Optional[int] = ..., detail: _Optional[str] = ..., more: _Optional[_Iterable[_Union[IngestAck, _Mapping]]] = ...) -> None: ...
