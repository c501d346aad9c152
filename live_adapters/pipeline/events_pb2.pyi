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
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class IngestSummary(_message.Message):
    __slots__ = ("received_events", "acked_events", "refused_events")
    RECEIVED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    ACKED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    received_events: int
    acked_events: int
    refused_events: int
    def __init__(self, received_events: _Optional[int] = ..., acked_events: _Optional[int] = ..., refused_events: _Optional[int] = ...) -> None: ...
