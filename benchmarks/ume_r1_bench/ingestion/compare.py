"""Compare: ingestion with nano, or at the price of a 2B model, each beside a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.index_report import Ingesting
from ume_r1_bench.ingestion.paper import write_paper
from ume_r1_bench.stores.errors import BenchError
from ume_r1_bench.stores.pair import SIDES
from ume_r1_bench.stores.worker import Worker

_NANO: Final = "nano"
_TURNS: Final = 2


def compare_ingestion(
    folder: Path, pages: int, cost_ms: float | None, seed: int, done: Callable[[], Any]
) -> list[Ingesting]:
    """Returns what ingesting costs, per model and side; both sides take turns, half of the pages each.

    Args:
        folder: where pages and indexes may be put.
        pages: how many in all.
        cost_ms: milliseconds that a page costs the 2B model; None leaves that out.
        seed: of the pages.
        done: called after each turn.
    """
    folder = folder / f"pages-{pages}"
    parts = [folder / f"paper-{turn}" for turn in range(_TURNS)]
    for turn, part in enumerate(parts):
        write_paper(part, pages // _TURNS + (turn < pages % _TURNS), seed + turn)
    made = _compare(folder / "nano", parts, pages, _NANO, 0, done)
    if cost_ms is not None:
        made += _compare(folder / "2b", parts, pages, f"2B at {cost_ms:g} ms a page", cost_ms, done)
    return made


def _compare(
    folder: Path, parts: list[Path], pages: int, model: str, cost_ms: float, done: Callable[[], Any]
) -> list[Ingesting]:
    from ume_r1_bench.ingestion.ingest_bench import IngestBench

    folder.mkdir()
    taken: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        workers = {
            side: stack.enter_context(Worker(IngestBench, side, model, cost_ms, str(folder)))
            for side in SIDES
        }
        for turn, part in enumerate(parts):
            for side in SIDES[:: 1 if turn % 2 == 0 else -1]:
                taken[side].append(workers[side].call("run", str(part)))
                done()
        peaks = {side: workers[side].call("peak") for side in SIDES}
    rows = []
    for side in SIDES:
        sums = {name: sum(turn[name] for turn in taken[side]) for name in taken[side][0]}
        if sums["pages"] != pages:
            raise BenchError(f"{side} ingested {sums['pages']} of {pages} pages with {model}")
        rows.append(
            Ingesting(
                model,
                side,
                pages,
                sums["seconds"],
                sums["encode_s"],
                sums["model_s"],
                sums["cpu_s"],
                peaks[side],
            )
        )
    return rows
