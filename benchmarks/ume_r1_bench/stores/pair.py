"""Pair: both sides' stores, asked in turns, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.index_report import Cost, Searching, Writing
from ume_r1_bench.stores.errors import BenchError
from ume_r1_bench.stores.kinds import BATCH, DEPTH, KINDS, Kind
from ume_r1_bench.stores.points import VARIETY
from ume_r1_bench.stores.store_bench import Ranking, Side, StoreBench, Taken
from ume_r1_bench.stores.worker import Worker

SIDES: Final[tuple[Side, ...]] = ("ours", "plain")

ALIKE: Final = VARIETY
"""Points of the store in which both sides must find the same."""

BLOCK: Final = 256
"""Points of a call."""

_ASKED: Final = 5
_WARM: Final = 2
_TOLERANCE: Final = 1e-4


@dataclass(slots=True)
class Pair:
    """Two stores.

    Attributes:
        workers: by side.
        calls: how many there were; who goes first changes with each.
    """

    workers: Mapping[Side, Worker]
    calls: int = 0

    def call(self, method: str, *given: Any) -> dict[Side, Any]:
        """Returns what a method of :class:`StoreBench` gives on each side."""
        self.calls += 1
        order = SIDES if self.calls % 2 else SIDES[::-1]
        return {side: self.workers[side].call(method, *given) for side in order}


@contextmanager
def stores(dimension: int, seed: int, folder: Path | None = None) -> Iterator[Pair]:
    """Opens an empty store for each side, in memory or below a folder."""
    with ExitStack() as stack:
        yield Pair(
            {
                side: stack.enter_context(
                    Worker(StoreBench, side, str(folder / side) if folder else ":memory:", dimension, seed)
                )
                for side in SIDES
            }
        )


def check_alike(dimension: int, seed: int) -> None:
    """Raises ``BenchError`` unless both sides find the same with every kind of search.

    Fused, every point is a candidate: with fewer, the two judge differently what only one space has found.
    """
    found: dict[Side, dict[Kind, list[Ranking]]] = {}
    for side in SIDES:
        with closing(StoreBench(side, ":memory:", dimension, seed)) as store:
            store.write(0, ALIKE)
            store.ask(BATCH, ALIKE)
            found[side] = {
                kind: [
                    ranking
                    for number in range(1 if kind == "batch" else _ASKED)
                    for ranking in store.search(kind, number, _several(kind), ALIKE)[1]
                ]
                for kind in KINDS
            }
    for kind in KINDS:
        for ours, plain in zip(found["ours"][kind], found["plain"][kind], strict=True):
            if not alike(ours, plain):
                raise BenchError(f"{kind}: ours found {ours}, plain qdrant-client found {plain}")


def alike(ours: Ranking, plain: Ranking) -> bool:
    """Returns whether two rankings are the same, but for which of several equal points come first or last."""
    if len(ours) != len(plain):
        return False
    if any(abs(a - b) > _TOLERANCE for (_, a), (_, b) in zip(ours, plain, strict=True)):
        return False
    scores = dict(plain)
    last = ours[-1][1] if ours else 0.0
    return all(abs(scores.get(id, last) - score) <= 2 * _TOLERANCE for id, score in ours)


def measure_write(pair: Pair, place: str, size: int, done: Callable[[], Any]) -> Writing:
    """Writes points into both stores, block by block.

    Args:
        pair: the stores.
        place: what to call where they are.
        size: how many points.
        done: called after each block.
    """
    taken: dict[Side, list[Taken]] = {side: [] for side in SIDES}
    for start in range(0, size, BLOCK):
        for side, took in pair.call("write", start, min(BLOCK, size - start)).items():
            taken[side].append(took)
        done()
    ours, plain = _costs(pair, taken)
    return Writing(place, size, ours, plain)


def measure_search(pair: Pair, kind: Kind, size: int, queries: int) -> Searching:
    """Searches both stores, query by query, for which they have been told what to ask."""
    several = _several(kind)
    for number in range(_WARM):
        pair.call("search", kind, number, several, DEPTH)
    pair.call("mark")
    taken: dict[Side, list[Taken]] = {side: [] for side in SIDES}
    shared = hits = 0
    for number in range(queries):
        found = pair.call("search", kind, number, several, DEPTH)
        for side in SIDES:
            taken[side].append(found[side][0])
        for ours, plain in zip(found["ours"][1], found["plain"][1], strict=True):
            shared += len(_ids(ours) & _ids(plain))
            hits += max(len(ours), len(plain))
    mine, theirs = _costs(pair, taken)
    return Searching(kind, size, mine, theirs, shared / hits if hits else 1.0)


def _costs(pair: Pair, taken: Mapping[Side, list[Taken]]) -> tuple[Cost, Cost]:
    peaks = pair.call("peak")
    ours, plain = (
        Cost([clock for clock, _ in taken[side]], [cpu for _, cpu in taken[side]], peaks[side])
        for side in SIDES
    )
    return ours, plain


def _ids(ranking: Iterable[tuple[str, float]]) -> set[str]:
    return {id for id, _ in ranking}


def _several(kind: Kind) -> int:
    return BATCH if kind == "batch" else 1
