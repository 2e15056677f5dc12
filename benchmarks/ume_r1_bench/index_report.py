"""What the index benchmark measured: figures, a table, JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ume_r1_bench.stores.kinds import BATCH, FUSED, KINDS, Kind

GOAL: Final = 0.10
"""The most of an ingestion's time that may pass outside of a 2B model, in disc mode."""

_WIDTH: Final = 98
_SHOWN: Final[dict[Kind, str]] = {
    "disc": "disc",
    "gen": "gen",
    "text": "text (BM25)",
    "convex": "three fused, convex",
    "rrf": "three fused, RRF",
    "dbsf": "three fused, DBSF",
    "grouped": "disc, by file",
    "filtered": "disc, a tenth",
    "batch": f"disc, batch of {BATCH}",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one side took.

    Attributes:
        seconds: of each call, by the clock.
        cpu_s: of each call, of the processor: what else the machine does is not in it.
        mib: the most memory above what was in use before, or None where it cannot be known.
    """

    seconds: Sequence[float]
    cpu_s: Sequence[float]
    mib: float | None

    def at(self, percent: float) -> float:
        """Returns a percentile of the calls in milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000

    @property
    def total(self) -> float:
        """All calls together in seconds."""
        return float(sum(self.seconds))

    @property
    def cpu(self) -> float:
        """All calls together in seconds of the processor."""
        return float(sum(self.cpu_s))


@dataclass(frozen=True, slots=True)
class Writing:
    """Points written by both sides.

    Attributes:
        place: ``"memory"`` or ``"folder"``.
        points: how many.
        ours: through ``QdrantIndex``.
        plain: through qdrant-client alone.
    """

    place: str
    points: int
    ours: Cost
    plain: Cost


@dataclass(frozen=True, slots=True)
class Searching:
    """One kind of search by both sides, the same queries in turns.

    Attributes:
        kind: which.
        points: in the store.
        ours: through ``Retriever``.
        plain: through qdrant-client alone.
        same: share of our hits that the other side found as well.
    """

    kind: Kind
    points: int
    ours: Cost
    plain: Cost
    same: float


@dataclass(frozen=True, slots=True)
class Ingesting:
    """Pages read, encoded in disc mode and written to a folder.

    Attributes:
        model: ``"nano"``, or what a model was made to cost.
        side: ``"ours"`` is ``ingest``, ``"plain"`` a loop that reads, encodes and writes by turns.
        pages: how many.
        seconds: all together.
        encode_s: seconds of that within the encoder.
        model_s: seconds of that within the model.
        cpu_s: seconds of the processor, those of a model that computes among them.
        mib: the most memory above what was in use before, or None where it cannot be known.
    """

    model: str
    side: str
    pages: int
    seconds: float
    encode_s: float
    model_s: float
    cpu_s: float
    mib: float | None

    @property
    def outside(self) -> float:
        """Share of the time in which the model did not run."""
        return 1 - self.model_s / self.seconds

    @property
    def preparing(self) -> float:
        """Share of the time in which the encoder ran, but not the model: pixels and tokens."""
        return (self.encode_s - self.model_s) / self.seconds


@dataclass(slots=True)
class IndexReport:
    """All figures of a run.

    Attributes:
        writing: per place and size.
        searching: per size and kind.
        ingesting: per model and side.
        meta: machine, versions, options.
    """

    writing: list[Writing] = field(default_factory=list)
    searching: list[Searching] = field(default_factory=list)
    ingesting: list[Ingesting] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def goal(self) -> Ingesting | None:
        """Returns what :data:`GOAL` is measured by: our ingestion at the cost of a 2B model."""
        found = (one for one in self.ingesting if one.side == "ours" and one.model != "nano")
        return next(found, None)

    def to_json(self) -> str:
        """Returns all figures, each call's seconds among them."""
        rows = {name: [asdict(one) for one in getattr(self, name)] for name in self.__slots__[:-1]}
        return json.dumps({"meta": self.meta, **rows}, indent=1)

    def write(self, path: Path) -> None:
        """Writes the JSON."""
        path.write_text(self.to_json() + "\n", encoding="utf-8")

    def table(self) -> str:
        """Returns the figures as text of less than 100 columns."""
        parts = [self._writing(), *self._searching(), *self._ingesting(), self._about()]
        return "\n\n".join(part for part in parts if part)

    def _writing(self) -> str:
        lines = [
            _head("Writing, points/s and peak memory"),
            f"{'':<30}{'ours':>12}{'plain':>10}{'ratio':>10}{'CPU':>8}{'ours MiB':>14}{'plain MiB':>14}",
        ]
        for one in self.writing:
            where = "a folder" if one.place == "folder" else "memory"
            speed = [one.points / cost.total for cost in (one.ours, one.plain)]
            lines.append(
                f"{one.points:>9,} to {where:<17}{speed[0]:>12,.0f}{speed[1]:>10,.0f}"
                f"{speed[1] / speed[0]:>10.2f}{one.ours.cpu / one.plain.cpu:>8.2f}"
                f"{_mib(one.ours.mib):>14}{_mib(one.plain.mib):>14}"
            )
        return "\n".join(lines)

    def _searching(self) -> list[str]:
        tables = []
        for points in dict.fromkeys(one.points for one in self.searching):
            lines = [
                _head(f"Searching {points:,} points, ms"),
                (
                    f"{'':<20}{'ours p50':>10}{'p95':>8}{'plain p50':>11}{'p95':>8}"
                    f"{'ratio p50':>11}{'p95':>6}{'CPU':>6}{'+MiB':>6}{'plain':>6}{'same':>6}"
                ),
            ]
            rows = {one.kind: one for one in self.searching if one.points == points}
            for kind in KINDS:
                if kind not in rows:
                    continue
                one = rows[kind]
                mine, theirs = ([cost.at(50), cost.at(95)] for cost in (one.ours, one.plain))
                lines.append(
                    f"{_SHOWN[kind]:<20}{mine[0]:>10.1f}{mine[1]:>8.1f}{theirs[0]:>11.1f}{theirs[1]:>8.1f}"
                    f"{mine[0] / theirs[0]:>11.2f}{mine[1] / theirs[1]:>6.2f}"
                    f"{one.ours.cpu / one.plain.cpu:>6.2f}"
                    f"{_mib(one.ours.mib):>6}{_mib(one.plain.mib):>6}{one.same:>6.0%}"
                )
            tables.append("\n".join(lines))
        if any(one.kind in FUSED for one in self.searching):
            tables.append(
                "Fused, ours scores every candidate exactly in every space, plain only where it was found:\n"
                "other hits, at another price. With all points as candidates both find the same."
            )
        return tables

    def _ingesting(self) -> list[str]:
        counts = dict.fromkeys(one.pages for one in self.ingesting)
        tables = [self._ingested(pages) for pages in counts]
        goal = self.goal()
        if goal is not None:
            word = "reached" if goal.outside <= GOAL else "MISSED "
            tables.append(
                f"{word}  at most {GOAL:.0%} of the time outside the model: {goal.outside:.1%} ({goal.model})"
            )
        return tables

    def _ingested(self, pages: int) -> str:
        lines = [
            _head(f"Ingesting {pages:,} PDF pages, disc, and peak memory"),
            (
                f"{'':<34}{'pages/s':>9}{'outside model':>16}{'= preparing':>13}{'+ waiting':>11}"
                f"{'CPU ms':>9}{'MiB':>6}"
            ),
        ]
        for one in self.ingesting:
            if one.pages != pages:
                continue
            name = f"{one.model}, {'ingest' if one.side == 'ours' else 'a plain loop'}"
            waiting = one.outside - one.preparing
            lines.append(
                f"{name:<34}{one.pages / one.seconds:>9.1f}{one.outside:>16.1%}{one.preparing:>13.1%}"
                f"{waiting:>11.1%}{one.cpu_s / one.pages * 1000:>9.0f}{_mib(one.mib):>6}"
            )
        return "\n".join(lines)

    def _about(self) -> str:
        meta = self.meta
        packages = ", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items())
        load = ", ".join(f"{one:.1f}" for one in meta.get("load", ()))
        told = (
            "Ratios are of times, ours to plain; CPU: of processor time, which other programs do not change. "
            f"{meta.get('machine')}, load before and after {load}; {packages}; D {meta.get('dimension')}, "
            f"{meta.get('queries')} queries a kind, seed {meta.get('seed')}; {meta.get('at')}, "
            f"{meta.get('seconds', 0):.0f} s"
        )
        return textwrap.fill(told, _WIDTH)


def _head(title: str) -> str:
    return f"{title} ".ljust(_WIDTH, "─")


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
