"""Resumable ids: up to which offset of each partition a subscriber has everything, by tenant.

`0-7@0:104.1:55_8-@0:99.1:55` says: tenants 0 to 7 are complete below offset 104 of partition 0 and 55 of partition 1, tenants
from 8 on below 99 and 55. It holds for good, also for an edge that was started anew: offsets are the log's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_CHARACTERS = 24 << 10
_GROUP = re.compile(r"(\d{1,10})-(\d{0,10})@((?:\d{1,9}:\d{1,18}(?:\.\d{1,9}:\d{1,18})*)?)", re.ASCII)

Offsets = Mapping[int, int]  # by partition


@dataclass(frozen=True)
class Position:
    """Groups of (first tenant, last tenant or None for no end, offset by partition); a tenant's first group counts."""

    groups: tuple[tuple[int, int | None, Offsets], ...]

    def of(self, tenant: int) -> Offsets:
        """Returns a tenant's offset by partition; a partition that is missing is not begun."""
        for first, last, offsets in self.groups:
            if first <= tenant and (last is None or tenant <= last):
                return offsets
        return {}

    def tenants(self) -> set[int]:
        """Returns one tenant of each group."""
        return {first for first, _, _ in self.groups}

    def ahead_of(self, offsets: Offsets) -> bool:
        """Tells whether some partition's offset is above the given one."""
        return any(
            offset > offsets.get(partition, -1) for _, _, group in self.groups for partition, offset in group.items()
        )


def parse_position(text: str) -> Position:
    """Reads an id.

    Raises:
        ValueError: it is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"must have at most {MAX_CHARACTERS} characters, got {len(text)}")
    groups = []
    for group in text.split("_"):
        match = _GROUP.fullmatch(group)
        if match is None:
            raise ValueError(f"must be groups like 0-7@0:104.1:55 joined by _, got {group[:60]!r}")
        first, last, offsets = match.groups()
        groups.append((int(first), int(last) if last else None, parse_offsets(offsets)))
    return Position(tuple(groups))


def parse_offsets(text: str) -> dict[int, int]:
    """Reads what `offsets_text` wrote."""
    pairs = (pair.split(":") for pair in text.split(".")) if text else ()
    return {int(partition): int(offset) for partition, offset in pairs}


def offsets_text(offsets: Offsets) -> str:
    """Returns offsets by partition as in an id.

    >>> offsets_text({0: 104, 1: 55})
    '0:104.1:55'
    """
    return ".".join([f"{partition}:{offset}" for partition, offset in offsets.items()])


def everyone(offsets: str) -> str:
    """Returns the id of a subscriber that is complete up to these offsets for every tenant."""
    return f"0-@{offsets}"


def within_poll(tenant: int, after: str, before: str) -> str:
    """Returns the id after a tenant's message of a poll, whose messages come in the order of tenants: later ones lack it."""
    return f"0-{tenant}@{after}_{tenant + 1}-@{before}"


def within_replay(tenant: int, now: str, own: Offsets, since: Position) -> str:
    """Returns the id after a message that is sent again, tenant after tenant: earlier ones have all until now, later ones nothing."""
    earlier = [f"0-{tenant - 1}@{now}"] if tenant else []
    later = [
        f"{first}-{'' if last is None else last}@{offsets_text(offsets)}"
        for first, last, offsets in since.groups
        if last is None or last > tenant
    ]
    return "_".join([*earlier, f"{tenant}-{tenant}@{offsets_text(own)}", *later])


def furthest(one: Offsets, other: Offsets) -> dict[int, int]:
    """Returns the higher offset of each partition."""
    return {p: max(one.get(p, 0), other.get(p, 0)) for p in sorted({*one, *other})}


def by_tenant(offsets: Iterable[tuple[int, Offsets]]) -> str:
    """Returns the id of a subscriber that knows each of its tenants' offsets."""
    return "_".join(f"{tenant}-{tenant}@{offsets_text(known)}" for tenant, known in offsets)
