"""Embedded groups: the best points of the best groups, from a ranking that is read as far as it needs.

For embedded collections alone: a server groups by itself, and embedded Qdrant copies the whole payload of
every point to do so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_AHEAD = 4
"""How many times the wanted number are ranked at first; then as many times more each time."""


def best_groups(
    rank: Callable[[int], Mapping[str, float]],
    values: Callable[[Mapping[str, float]], Mapping[str, Any]],
    limit: int,
    group_size: int,
) -> dict[str, float]:
    """Returns the first ``group_size`` points of each of the first ``limit`` groups, in order of rank.

    Args:
        rank: gives the first so many of a ranking ``{point id: score}``.
        values: gives the group of each of these points, or a list of groups; none for those of no group.
        limit: at most so many groups.
        group_size: at most so many points of each.
    """
    depth = _AHEAD * limit * group_size
    known: dict[str, Any] = {}
    while True:
        ranking = rank(depth)
        known |= values({id: score for id, score in ranking.items() if id not in known})
        groups: dict[str | int, list[str]] = {}
        for id in ranking:
            for group in _groups(known.get(id)):
                if group in groups:
                    if len(groups[group]) < group_size:
                        groups[group].append(id)
                elif len(groups) < limit:
                    groups[group] = [id]
        full = len(groups) == limit and all(len(ids) == group_size for ids in groups.values())
        if full or len(ranking) < depth:
            chosen = {id for ids in groups.values() for id in ids}
            return {id: score for id, score in ranking.items() if id in chosen}
        depth *= _AHEAD


def value_at(payload: Mapping[str, Any] | None, path: str) -> Any:
    """Returns the value of a dotted payload path, or None if there is none."""
    value: Any = payload
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _groups(value: Any) -> list[str | int]:
    """Returns the groups that a payload value puts a point in; in Qdrant all must be strings or integers."""
    values = value if isinstance(value, list) else [value]
    if any(type(one) not in (str, int) for one in values):
        return []
    return list(dict.fromkeys(values))
