"""Reads the head of an HTTP/1.1 request, strictly: what is not understood is refused with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from live_adapters.pipeline.edge.refusal import RefusedError

MAX_HEAD_BYTES = 32 << 10
END = b"\r\n\r\n"
_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,32768}) HTTP/(\d\.\d)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_MAX_HEADERS = 64


@dataclass(frozen=True)
class Request:
    """A GET request: its path, each query parameter once, headers by lower-case name."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def parse_head(head: bytes) -> Request:
    """Reads a request line and headers, without the empty line.

    Raises:
        RefusedError: with the status of the rule that it breaks.
    """
    first, *rest = head.split(b"\r\n")
    match = _LINE.fullmatch(first)
    if match is None:
        raise bad("request_line", f"request line: must be METHOD PATH HTTP/1.1, got {first[:60]!r}; see docs/edge.md")
    method, target, version = match.groups()
    if version not in (b"1.1", b"1.0"):
        raise RefusedError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "version",
            f"request line: must be HTTP/1.1, got {version.decode()}; use 1.1",
        )
    if method != b"GET":
        raise RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED, "method", f"request line: must be a GET, got {method.decode()}; use GET"
        )
    headers = _headers(rest)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise bad("body", "request: must have no body, got one; use GET without a body")
    path, query = _target(target.decode("ascii"))
    return Request(path, query, headers)


def bad(reason: str, line: str) -> RefusedError:
    """Returns the refusal of a request that is not in form: 400."""
    return RefusedError(HTTPStatus.BAD_REQUEST, reason, line)


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _MAX_HEADERS:
        raise bad("header", f"headers: must be at most {_MAX_HEADERS}, got {len(lines)}; send fewer")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise bad("header", f"headers: must be NAME: VALUE, got {line[:60]!r}; leave it out")
        headers[match[1].decode("ascii").lower()] = match[2].decode("latin-1").strip()
    return headers


def _target(target: str) -> tuple[str, dict[str, str]]:
    try:
        url = urlsplit(target)
        pairs = parse_qsl(url.query, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError as error:
        raise bad("query", f"query: must be NAME=VALUE joined by &, got {error}; see docs/edge.md") from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise bad("query", "query: must name each parameter once, got one twice; give one value")
    return url.path, query
