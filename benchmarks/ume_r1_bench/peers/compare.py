"""Compare: several models on the same tasks in one run, by the same rows, ranks and measures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ume_r1_bench.mmeb.contents import Contents
from ume_r1_bench.mmeb.score import Placed, score
from ume_r1_bench.peers.peer import Peer, PeerVectors
from ume_r1_rag.errors import UmeR1Error

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.row import TaskData
    from ume_r1_bench.peers.peer import Matrix

_AT_ONCE: Final = 64
"""Queries whose scores are in memory together."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One model on one task.

    Attributes:
        task: its name.
        peer: the model's.
        metric: what the task reports.
        value: its mean over queries, in 0 to 1.
        low: lower end of its 95 % interval.
        high: upper end.
        queries: how many.
        candidates: how many different ones.
        failed: inputs without a vector: a query counts as missed, a candidate is not ranked.
        reason: of the first of them.
        seconds: of encoding and scoring.
        why: why there is no figure.
    """

    task: str
    peer: str
    metric: str
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    queries: int = 0
    candidates: int = 0
    failed: int = 0
    reason: str = ""
    seconds: float = 0.0
    why: str = ""


def compare(
    peers: Sequence[Peer],
    load: Callable[[str], TaskData],
    tasks: Mapping[str, str],
    *,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Compared]:
    """Yields every task by every model; what cannot be done has its reason, and the rest goes on.

    Args:
        peers: the models.
        load: reads a task.
        tasks: name → what it reports.
        seed: of the order of the tied, which decides nothing here.
        tell: hears what is being done.
    """
    for task, metric in tasks.items():
        try:
            data = load(task)
        except UmeR1Error as error:
            yield from (Compared(task, peer.name, metric, why=str(error)) for peer in peers)
            continue
        contents = Contents()
        placed = Placed.of(data, contents)
        for peer in peers:
            tell(f"{task}: {peer.name}")
            try:
                yield _compared(peer, placed, contents, seed)
            except UmeR1Error as error:
                yield Compared(task, peer.name, metric, why=str(error))


def write_compared(
    path: Path, rows: Sequence[Compared], peers: Sequence[Peer], about: Mapping[str, Any]
) -> None:
    """Writes rows, and what the models' vectors depend on."""
    marks = {peer.name: dict(peer.fingerprint) for peer in peers}
    whole = {**about, "fingerprints": marks, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(rows: Sequence[Compared]) -> str:
    """Returns rows for a terminal, in points."""
    width = max([len(row.peer) for row in rows], default=5)
    lines = [f"{'task':<24} {'model':<{width}} {'measure':<14} points [95 % interval]   queries failed"]
    for row in rows:
        head = f"{row.task:<24} {row.peer:<{width}} {row.metric:<14}"
        if row.why:
            lines.append(f"{head} not measured: {row.why}")
            continue
        span = f"[{100 * row.low:5.1f} {100 * row.high:5.1f}]"
        lines.append(f"{head} {100 * row.value:6.1f} {span:<17} {row.queries:>7} {row.failed:>6}")
        if row.failed:
            lines.append(f"{'':<24} {'':<{width}} first of the failed: {row.reason}")
    return "\n".join(lines)


def _compared(peer: Peer, placed: Placed, contents: Contents, seed: int) -> Compared:
    task, start = placed.data.task, time.monotonic()
    asked, shown = list(dict.fromkeys(placed.queries)), list(dict.fromkeys(placed.candidates.values()))
    queries = _vectors(peer.encode_queries, asked, contents)
    documents = _vectors(peer.encode_documents, shown, contents)
    found = score(
        placed, _scores(peer, placed, (asked, queries), (shown, documents)), [task.metric], seed=seed
    )
    low, high = found.interval(task.metric)
    failures = [*queries.failures, *documents.failures]
    return Compared(
        task.name,
        peer.name,
        task.metric,
        found.mean(task.metric),
        low,
        high,
        len(placed.queries),
        len(shown),
        len(failures),
        str(failures[0][1]) if failures else "",
        round(time.monotonic() - start, 3),
    )


def _vectors(
    encode: Callable[[Sequence[Any]], PeerVectors], keys: Sequence[str], contents: Contents
) -> PeerVectors:
    """Returns vectors by content; what cannot even be read has none."""
    there = [at for at, key in enumerate(keys) if key in contents.all]
    found = encode([contents.all[keys[at]].input for at in there]) if there else PeerVectors(())
    rows: list[Matrix | None] = [None] * len(keys)
    for at, row in zip(there, found.rows, strict=True):
        rows[at] = row
    failures = [(there[at], error) for at, error in found.failures]
    failures += [
        (at, UmeR1Error(contents.unreadable[key])) for at, key in enumerate(keys) if key not in contents.all
    ]
    return PeerVectors(tuple(rows), tuple(sorted(failures, key=lambda one: one[0])))


def _scores(
    peer: Peer,
    placed: Placed,
    queries: tuple[list[str], PeerVectors],
    documents: tuple[list[str], PeerVectors],
) -> Iterator[Matrix | None]:
    """Yields each query's scores of its candidates; equal contents have one score, so that ties stay ties."""
    row = {key: at for at, key in enumerate(queries[0])}
    column = {key: at for at, key in enumerate(documents[0])}
    absent = len(column)
    for start in range(0, len(placed.queries), _AT_ONCE):
        part = placed.queries[start : start + _AT_ONCE]
        vectors = PeerVectors(tuple(queries[1].rows[row[key]] for key in part))
        scores = peer.score(vectors, documents[1])
        # The last column stands for a relevant candidate that the rows do not hold.
        scores = np.pad(scores, ((0, 0), (0, 1)), constant_values=-np.inf)
        for at in range(len(part)):
            if vectors.rows[at] is None:
                yield None
                continue
            names = placed.names[start + at]
            columns = [column.get(placed.candidates.get(name, ""), absent) for name in names]
            yield scores[at, columns]
