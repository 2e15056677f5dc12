"""Grouping: a ranking of documents as a ranking of the files that they are parts of."""

from __future__ import annotations

from collections.abc import Mapping


def grouped(
    ranking: Mapping[str, float], documents: Mapping[str, str], groups: int, size: int
) -> dict[str, float]:
    """Returns the best parts of the best files, those of one file next to each other.

    A file ranks by its best part. Within it, parts keep their order.

    Args:
        ranking: scores by point id, best first.
        documents: the file of each point id; one without stands for itself.
        groups: at most so many files.
        size: at most so many parts of each.
    """
    members: dict[str, list[str]] = {}
    for id in ranking:
        document = documents.get(id, id)
        if document not in members and len(members) == groups:
            continue
        members.setdefault(document, []).append(id)
    return {id: ranking[id] for ids in members.values() for id in ids[:size]}
