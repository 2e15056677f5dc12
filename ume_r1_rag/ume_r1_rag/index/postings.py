"""Postings: the words of an embedded collection turned round, so that a search reads only its query's.

A server has such an index of its own. Embedded Qdrant compares a query with every sparse vector in Python,
which takes longer than all the rest of a search. The scores are the same; a test holds them to that. Postings
live beside a client for as long as only this package writes through it: once somebody has taken the client,
to write by other means perhaps, the store's own answers are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ume_r1_rag.index.tenant import FIELD as TENANT
from ume_r1_rag.index.tenant import owns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from qdrant_client import QdrantClient, models

_PAGE = 10_000


class _Segment(NamedTuple):
    """Terms in order, each with a row that has it and the weight there; ``(N,)`` each."""

    terms: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]


class Postings:
    """Which points have a term, and with what weight.

    Rows are numbered as they come; a point that is written again gets a new row, and its old one dies.
    """

    def __init__(self) -> None:
        """Makes postings of nothing."""
        import numpy as np

        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._owners: list[Mapping[str, Any]] = []
        self._segments: list[_Segment] = []
        self._fresh: list[tuple[int, models.SparseVector]] = []
        self._tenants: list[int] = []
        self._alive: list[bool] = []
        self._columns = (np.empty(0, np.int32), np.empty(0, np.bool_))

    @classmethod
    def read(cls, client: QdrantClient, physical: str) -> Postings:
        """Returns the postings of a collection, of all tenants."""
        postings, offset = cls(), None
        while True:
            records, offset = client.scroll(
                physical, limit=_PAGE, offset=offset, with_payload=[TENANT], with_vectors=["text"]
            )
            for record in records:
                postings._add(record)
            if offset is None:
                return postings

    @property
    def worn(self) -> bool:
        """Whether most rows are dead, so that it is better to read all anew."""
        return len(self._ids) > 1000 + 2 * len(self._row_of)

    def write(self, points: Iterable[models.PointStruct]) -> None:
        """Takes in points as they were written."""
        for point in points:
            self.drop([str(point.id)])
            self._add(point)

    def drop(self, ids: Iterable[str]) -> None:
        """Forgets points."""
        for id in ids:
            row = self._row_of.pop(id, None)
            if row is not None:
                self._alive[row] = False
                self._columns[1][row : row + 1] = False

    def scores(
        self,
        query: models.SparseVector,
        tenant: str | None,
        only: Iterable[str] | None = None,
        limit: int | None = None,
    ) -> dict[str, float]:
        """Returns the BM25 scores of a tenant's points that have a term of the query, by id, in no order.

        Args:
            query: the terms and their weights.
            tenant: whose points these are; how rare a term is, is counted among them.
            only: ids to which the answer is confined; all by default.
            limit: the best so many, and all that are equal to the last of them; all by default.
        """
        import numpy as np

        self._flush()
        tenants, alive = self._columns
        codes = [code for code, owner in enumerate(self._owners) if owns(tenant, owner)]
        mine = alive & np.isin(tenants, codes)
        total = int(mine.sum())
        sums, have = np.zeros(len(mine), np.float64), np.zeros(len(mine), np.bool_)
        for term, weight in zip(query.indices, query.values, strict=True):
            rows, weights = self._of(term)
            kept = mine[rows]
            rows, weights = rows[kept], weights[kept]
            idf = np.log((total - len(rows) + 0.5) / (len(rows) + 0.5) + 1)
            sums[rows] += weight * idf * weights
            have[rows] = True
        if only is not None:
            chosen = np.zeros_like(have)
            chosen[[self._row_of[id] for id in only if id in self._row_of]] = True
            have &= chosen
        found = np.flatnonzero(have)
        if limit is not None and len(found) > limit:
            found = found[sums[found] >= np.partition(sums[found], -limit)[-limit]]
        return dict(zip((self._ids[row] for row in found.tolist()), sums[found].tolist(), strict=True))

    def _add(self, point: models.Record | models.PointStruct) -> None:
        vector = point.vector.get("text") if isinstance(point.vector, Mapping) else None
        if vector is None:
            return
        row = self._row_of[str(point.id)] = len(self._ids)
        self._ids.append(str(point.id))
        self._tenants.append(self._code(point.payload))
        self._alive.append(True)
        self._fresh.append((row, vector))  # type: ignore[arg-type]

    def _code(self, payload: Mapping[str, Any] | None) -> int:
        """Returns the number of those whose point this is; a foreign writer may have put anything there."""
        owner = {field: value for field, value in (payload or {}).items() if field == TENANT}
        code = self._codes.setdefault(repr(owner), len(self._owners))
        if code == len(self._owners):
            self._owners.append(owner)
        return code

    def _flush(self) -> None:
        """Sorts what has come in since the last search; a small part by itself, so that it costs little."""
        import numpy as np

        if not self._fresh:
            return
        lengths = [len(vector.indices) for _, vector in self._fresh]
        count = sum(lengths)
        self._segments.append(
            _Segment(
                np.fromiter((term for _, v in self._fresh for term in v.indices), np.uint32, count),
                np.repeat(np.array([row for row, _ in self._fresh], np.int32), lengths),
                np.fromiter((weight for _, v in self._fresh for weight in v.values), np.float32, count),
            )
        )
        self._fresh = []
        merged = len(self._segments) > 1 and sum(len(s.terms) for s in self._segments[1:]) * 10 > len(
            self._segments[0].terms
        )
        parts = self._segments if merged else self._segments[-1:]
        terms, rows, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(terms, kind="stable")
        self._segments[-len(parts) :] = [_Segment(terms[order], rows[order], weights[order])]
        self._columns = (np.array(self._tenants, np.int32), np.array(self._alive, np.bool_))

    def _of(self, term: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Returns the rows that have a term, dead ones among them, and their weights."""
        import numpy as np

        parts = []
        for terms, rows, weights in self._segments:
            start, end = np.searchsorted(terms, [term, term + 1])
            parts.append((rows[start:end], weights[start:end]))
        if not parts:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        rows, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rows, weights
