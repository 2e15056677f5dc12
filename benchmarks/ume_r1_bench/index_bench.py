"""``ume-r1 bench index``: the index beside plain qdrant-client, and ingestion beside its model.

Both sides of a comparison get the same points and queries, each in a process of its own, in turns, in one
run: what else the machine does meets both. Before anything is timed, they must find the same in a small
store.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_bench.index_report import IndexReport, Writing
from ume_r1_bench.ingestion.compare import compare_ingestion
from ume_r1_bench.stores.kinds import BATCH, KINDS
from ume_r1_bench.stores.pair import check_alike, measure_search, measure_write, stores
from ume_r1_rag.errors import ConfigError

SIZES: Final = (1_000, 10_000, 50_000)

_FOLDER: Final = 10_000
"""Points that are written to a folder, at most: each costs a commit, whatever the size."""

_PACKAGES: Final = ("ume-r1-rag", "qdrant-client", "numpy", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        sizes: points of the stores.
        dimension: D of their vectors; UME-R1-2B's by default.
        queries: of each kind.
        pages: to ingest with nano, as many runs as numbers; the first at the cost of a 2B model as well.
        model_cost_ms: what a page costs a 2B model.
        path: where the folders are made; a temporary one by default.
        seed: of all that is random.
    """

    sizes: Sequence[int] = SIZES
    dimension: int = 1536
    queries: int = 50
    pages: Sequence[int] = (200,)
    model_cost_ms: float = 50.0
    path: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            ConfigError: an option has an impossible value.
        """
        if not self.sizes or min(self.sizes) < 1:
            raise ConfigError(f"sizes={list(self.sizes)}: give one or more, of at least 1 point")
        if min(self.pages, default=1) < 1:
            raise ConfigError(f"pages={list(self.pages)}: give counts of at least 1, or none")
        if len(set(self.pages)) < len(self.pages):
            raise ConfigError(f"pages={list(self.pages)}: give each count once")
        for name, least in (("dimension", 2), ("queries", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: it must be at least {least}")
        if not 0 < self.model_cost_ms < float("inf"):
            raise ConfigError(f"model_cost_ms={self.model_cost_ms}: give milliseconds above 0")


def run_index_bench(
    options: Options | None = None, out: Path | None = None, progress: bool = True
) -> IndexReport:
    """Measures the index.

    Args:
        options: what to measure.
        out: where the figures go as JSON, after each part.
        progress: whether to show a bar.

    Raises:
        BenchError: the two sides do not find the same, or one of them failed.
    """
    given = options or Options()
    began, load = time.monotonic(), os.getloadavg()
    report = IndexReport()

    def keep() -> None:
        """Writes what there is by now: a run takes long, and a later part may fail."""
        report.meta = {
            **_machine(),
            "load": [round(one[0], 1) for one in (load, os.getloadavg())],
            "dimension": given.dimension,
            "queries": given.queries,
            "pages": list(given.pages),
            "model_cost_ms": given.model_cost_ms,
            "seed": given.seed,
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "seconds": round(time.monotonic() - began, 1),
        }
        if out is not None:
            report.write(out)

    with tempfile.TemporaryDirectory(dir=given.path) as folder, tqdm(disable=not progress) as bar:
        bar.set_description("comparing")
        check_alike(given.dimension, given.seed)
        for size in given.sizes:
            bar.set_description(f"{size:,} points")
            _in_memory(size, given, report, bar)
            keep()
        for size in dict.fromkeys(min(_FOLDER, size) for size in given.sizes):
            bar.set_description(f"{size:,} points to a folder")
            report.writing.append(_to_folder(size, given, Path(folder), bar))
            keep()
        for pages in given.pages:
            bar.set_description(f"ingesting {pages:,} pages")
            cost_ms = given.model_cost_ms if not report.ingesting else None
            report.ingesting += compare_ingestion(Path(folder), pages, cost_ms, given.seed, bar.update)
            keep()
    return report


def _in_memory(size: int, given: Options, report: IndexReport, bar: Any) -> None:
    with stores(given.dimension, given.seed) as pair:
        report.writing.append(measure_write(pair, "memory", size, bar.update))
        pair.call("ask", max(given.queries, BATCH), size)
        for kind in KINDS:
            report.searching.append(measure_search(pair, kind, size, given.queries))
            bar.update()


def _to_folder(size: int, given: Options, folder: Path, bar: Any) -> Writing:
    place = folder / f"store-{size}"
    place.mkdir()
    with stores(given.dimension, given.seed, place) as pair:
        return measure_write(pair, "folder", size, bar.update)


def _machine() -> dict[str, Any]:
    """Returns what the figures depend on besides the options."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as CPUs"),
        "versions": {"Python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _processor() -> str:
    """Returns the processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
