"""The cells as a table, and whether the goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

MEMORY_GOAL = 1.0
SPEED_GOAL = 0.95

Cells = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""(way, batch) → a measurement of each round; none where it was not run."""


def median(cells: Cells, way: str, batch: int, name: str) -> float | None:
    """Returns the median of a figure over the rounds, or None if the cell was not run."""
    rounds = cells.get((way, batch), ())
    return statistics.median(row[name] for row in rounds) if rounds else None


def table(cells: Cells, reasons: Mapping[tuple[str, int], str]) -> str:
    """Returns the cells as Markdown.

    Args:
        cells: what was measured.
        reasons: of cells that were not run, why.
    """
    lines = [
        "| way | pairs a step | peak MB (all rounds) | pairs/s | pairs/CPU s | × plain loop, CPU |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for way, batch in sorted({*cells, *reasons}, key=lambda cell: (cell[1], cell[0])):
        rounds = cells.get((way, batch), ())
        if not rounds:
            lines.append(f"| {way} | {batch:,} | {reasons[way, batch]} | | | |")
            continue
        peaks = ", ".join(f"{row['peak_mb']:,.0f}" for row in rounds)
        wall, cpu = (median(cells, way, batch, name) or 0.0 for name in ("pairs_per_s", "pairs_per_cpu_s"))
        plain = median(cells, "loop", batch, "pairs_per_cpu_s")
        ratio = f"{cpu / plain:.2f}" if plain else "–"
        lines.append(f"| {way} | {batch:,} | {peaks} | {wall:.2f} | {cpu:.2f} | {ratio} |")
    return "\n".join(lines)


def goals(cells: Cells, small: int, large: int) -> list[tuple[str, bool | None]]:
    """Returns each goal as a sentence with its figure, and whether it is met; None where it was not measured.

    Args:
        cells: what was measured.
        small: the batch that the plain loop is taken at.
        large: the batch that must not need more memory.
    """
    found: list[tuple[str, bool | None]] = []
    ours, theirs = median(cells, "cached", large, "peak_mb"), median(cells, "loop", small, "peak_mb")
    text = f"cached at {large:,} within the plain loop's memory at {small:,}"
    if ours is None or theirs is None:
        found.append((f"{text}: not measured", None))
    else:
        found.append((f"{text}: {ours:,.0f} of {theirs:,.0f} MB", ours <= MEMORY_GOAL * theirs))
    for way, name in (("whole", "our step, graphs kept,"), ("cached", "our step, cached,")):
        for batch in sorted({batch for _, batch in cells}):
            a, b = (median(cells, kind, batch, "pairs_per_cpu_s") for kind in (way, "loop"))
            if a is not None and b is not None:
                text = f"{name} at {batch:,} negatives ≥ {SPEED_GOAL} × the plain loop: {a / b:.2f}"
                found.append((text, a / b >= SPEED_GOAL))
    return found
