"""StoreBench: one side's store in its process, with a clock and a memory gauge."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

from ume_r1_bench.stores.kinds import Kind
from ume_r1_bench.stores.peak import Peak
from ume_r1_bench.stores.points import Block, Points, Query

Side = Literal["ours", "plain"]

Ranking: TypeAlias = list[tuple[str, float]]
"""Point ids with their scores, best first."""

Taken: TypeAlias = tuple[float, float]
"""Seconds by the clock, and of the processor."""


class Store(Protocol):
    """What is measured: :class:`ume_r1_bench.stores.ours.Ours` and its plain counterpart."""

    def prepare(self, block: Block) -> Any:
        """Returns what ``write`` takes; this is not measured."""
        ...

    def write(self, block: Any) -> None:
        """Writes points."""
        ...

    def prepare_query(self, query: Query) -> Any:
        """Returns what ``search`` takes; this is not measured."""
        ...

    def search(self, kind: Kind, queries: Sequence[Any], depth: int) -> list[Ranking]:
        """Returns what is found for each query."""
        ...

    def close(self) -> None:
        """Closes it."""
        ...


class StoreBench:
    """A store that is measured from another process."""

    def __init__(self, side: Side, place: str, dimension: int, seed: int) -> None:
        """Opens the store.

        Args:
            side: whose.
            place: a folder, or ``":memory:"``.
            dimension: D.
            seed: of the points.
        """
        # That local mode is not for more than 20,000 points is what is being measured.
        warnings.filterwarnings("ignore", message="Local mode is not recommended")
        self._points = Points(dimension, seed)
        kind = _store(side)
        # What imports take is no part of the first case.
        self._peak = Peak()
        self._store: Store = kind(self._points, place)
        self._queries: list[Any] = []

    def write(self, start: int, count: int) -> Taken:
        """Writes points; returns what it took."""
        prepared = self._store.prepare(self._points.block(start, count))
        began = _now()
        self._store.write(prepared)
        return _since(began)

    def ask(self, count: int, points: int) -> None:
        """Makes the queries."""
        self._queries = [self._store.prepare_query(query) for query in self._points.queries(count, points)]

    def search(self, kind: Kind, number: int, several: int, depth: int) -> tuple[Taken, list[Ranking]]:
        """Searches with so many queries from a number on; returns what it took, and what each found."""
        count = len(self._queries)
        queries = [self._queries[(number + at) % count] for at in range(several)]
        began = _now()
        found = self._store.search(kind, queries, depth)
        return _since(began), found

    def mark(self) -> None:
        """Counts memory from what is in use now."""
        self._peak.mark()

    def peak(self) -> float | None:
        """Returns the most memory since the mark in MiB, or None where it cannot be known."""
        return self._peak.mib()

    def close(self) -> None:
        """Closes the store."""
        self._store.close()


def _now() -> Taken:
    return time.perf_counter(), time.process_time()


def _since(began: Taken) -> Taken:
    clock, processor = _now()
    return clock - began[0], processor - began[1]


def _store(side: Side) -> type[Any]:
    if side == "ours":
        from ume_r1_bench.stores.ours import Ours

        return Ours
    from ume_r1_bench.stores.plain import Plain

    return Plain
