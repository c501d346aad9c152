"""An even spread of partitions over consumers that moves as few as it can: Kafka's sticky assignment."""

from __future__ import annotations


def spread_evenly(target: list[int], members: list[int]) -> None:
    """Gives each partition the number of its consumer in place of the one that it has, which may be none of them any more."""
    quota, extra = divmod(len(target), len(members))
    room = dict.fromkeys(members, quota)
    holders = [number for number in members if target.count(number) > quota]
    others = [number for number in members if target.count(number) <= quota]
    for number in [*holders, *others][:extra]:
        room[number] += 1
    for partition, number in enumerate(target):
        if room.get(number, 0) > 0:
            room[number] -= 1
        else:
            target[partition] = -1
    for partition, number in enumerate(target):
        if number < 0:
            first = next(number for number in members if room[number] > 0)
            room[first] -= 1
            target[partition] = first
