"""Goal: what the figures should show, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ume_r1_bench.speed.cell import Cell
from ume_r1_bench.speed.figure import Alike, Figure
from ume_r1_bench.speed.way import ABOUT, Way

LEAST_COSINE: Final = 0.9999
GAIN: Final = 1.5
"""One engine to the two-pass ways at 32 tokens; at 400 it must not be slower."""

OVERHEAD: Final = 0.05
"""The most that extraction may cost over plain generation."""

WRAPPER_GAIN: Final = 5.0
"""One engine to mteb's wrapper at 64 requests at once."""

_SHORT: Final = 32
_LONG: Final = 400
_MANY: Final = 64


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal, judged.

    Attributes:
        told: what was wanted.
        cells: how many cells it was judged in.
        met: in how many it is met.
        by_processor: the same by seconds of the processor, since on a busy machine the clock tells little;
            None where nothing is timed.
        worst: the figure that is farthest from it, with its cell.
    """

    told: str
    cells: int
    met: int
    by_processor: int | None
    worst: str

    @property
    def reached(self) -> bool:
        """Whether it is met in every cell."""
        return self.met == self.cells


def judge(figures: Mapping[tuple[Cell, Way], Figure], alike: Sequence[Alike]) -> list[Goal]:
    """Returns the goals of which there is anything to be judged.

    Args:
        figures: those without a failure.
        alike: the comparisons that were made.
    """
    goals = [_parity(alike)]
    for other in ("two-pass", "official"):
        name = ABOUT[other].shown
        goals += [
            _gain(figures, other, f"at least {GAIN} x {name}, {_SHORT} tokens", GAIN, tokens=_SHORT),
            _gain(figures, other, f"not slower than {name}, {_LONG} tokens", 1.0, tokens=_LONG),
        ]
    goals.append(
        _gain(
            figures,
            "mteb",
            f"at least {WRAPPER_GAIN:g} x {ABOUT['mteb'].shown}, {_MANY} at once",
            WRAPPER_GAIN,
            concurrency=_MANY,
        )
    )
    goals.append(_overhead(figures))
    return [one for one in goals if one is not None]


def _parity(alike: Sequence[Alike]) -> Goal | None:
    found = [
        (cosine, None, f"{cosine:.6f} ({space}, {ABOUT[one.way].shown}, {one.model})")
        for one in alike
        for space, cosine in (("disc", one.disc), ("gen", one.gen))
        if cosine is not None
    ]
    told = f"cosine at least {LEAST_COSINE} on the same ids"
    return _goal(told, found, LEAST_COSINE)


def _gain(
    figures: Mapping[tuple[Cell, Way], Figure],
    other: Way,
    told: str,
    least: float,
    tokens: int | None = None,
    concurrency: int | None = None,
) -> Goal | None:
    found = [
        _ratios(ours, figures[cell, other])
        for (cell, way), ours in figures.items()
        if way == "one-engine"
        and (cell, other) in figures
        and tokens in (None, cell.tokens)
        and concurrency in (None, cell.concurrency)
    ]
    return _goal(told, found, least)


def _overhead(figures: Mapping[tuple[Cell, Way], Figure]) -> Goal | None:
    # Against plain generation stands what does no more than generate and extract.
    found = [
        _costs(bare, figures[cell, "plain"])
        for (cell, way), bare in figures.items()
        if way == "unwatched" and cell.tokens and (cell, "plain") in figures
    ]
    told = f"extraction at most {OVERHEAD:.0%} over plain generation"
    return _goal(told, found, -OVERHEAD)


_Found = tuple[float, float | None, str]
"""How near a cell is to a goal by the clock, and by the processor, and how that is told."""


def _ratios(ours: Figure, other: Figure) -> _Found:
    clock, processor = ours.times(other), ours.cpu_times(other)
    return clock, processor, f"{clock:.2f} x, by the processor {processor:.2f} x ({ours.cell})"


def _costs(bare: Figure, plain: Figure) -> _Found:
    clock, processor = (ratio - 1 for ratio in (plain.times(bare), plain.cpu_times(bare)))
    return -clock, -processor, f"{clock:+.0%}, by the processor {processor:+.0%} ({bare.cell})"


def _goal(told: str, found: Sequence[_Found], least: float) -> Goal | None:
    if not found:
        return None
    by_processor = [value for _, value, _ in found if value is not None]
    return Goal(
        told,
        len(found),
        sum(value >= least for value, _, _ in found),
        sum(value >= least for value in by_processor) if by_processor else None,
        min(found, key=lambda one: one[0])[2],
    )
