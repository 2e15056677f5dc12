"""Figure: what one way took in one cell; and how two of them compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ume_r1_bench.speed.answer import Burst
from ume_r1_bench.speed.cell import Cell
from ume_r1_bench.speed.way import Way


@dataclass(frozen=True, slots=True)
class Figure:
    """One way in one cell.

    Attributes:
        cell: what was asked.
        way: how.
        requests: of each round.
        seconds: of each round, by the clock.
        cpu_s: of each round, of the processor: what else the machine does is not in it.
        latencies: of all requests, from when they were handed over; seconds.
        batch: size of the batches where the way chose the best, else None.
        failed: why there are no figures, or ``""``.
    """

    cell: Cell
    way: Way
    requests: int
    seconds: Sequence[float] = ()
    cpu_s: Sequence[float] = ()
    latencies: Sequence[float] = ()
    batch: int | None = None
    failed: str = ""

    @classmethod
    def of(cls, cell: Cell, way: Way, requests: int, bursts: Sequence[Burst]) -> Figure:
        """Returns the figure of a way's rounds."""
        return cls(
            cell,
            way,
            requests,
            [round(one.seconds, 6) for one in bursts],
            [round(one.cpu_s, 6) for one in bursts],
            [round(each, 6) for one in bursts for each in one.latencies],
            bursts[-1].batch,
        )

    @property
    def rate(self) -> float:
        """Requests a second, over all rounds."""
        return self.requests * len(self.seconds) / sum(self.seconds)

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of the processor for a request."""
        return sum(self.cpu_s) / (self.requests * len(self.cpu_s)) * 1000

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latencies in milliseconds."""
        return float(np.percentile(self.latencies, 95)) * 1000

    def times(self, other: Figure) -> float:
        """Returns how many times another's throughput this one has: the median of the rounds' ratios.

        A round's two figures are taken one after the other, so what else the machine does meets both alike.
        """
        return statistics.median(
            theirs / mine for mine, theirs in zip(self.seconds, other.seconds, strict=True)
        )

    def cpu_times(self, other: Figure) -> float:
        """Returns the same by seconds of the processor."""
        return statistics.median(theirs / mine for mine, theirs in zip(self.cpu_s, other.cpu_s, strict=True))


@dataclass(frozen=True, slots=True)
class Alike:
    """A way held against the card's loop, on a model that is not scripted.

    Attributes:
        model: which.
        way: which.
        disc: smallest cosine of disc on the same ids; None if the way has none.
        gen: smallest cosine of gen on the same ids; None if the way has none.
        same: inputs of which both wrote the same.
        inputs: how many there were.
        failed: why there are no figures, or ``""``.
    """

    model: str
    way: Way
    disc: float | None = None
    gen: float | None = None
    same: int = 0
    inputs: int = 0
    failed: str = ""
