"""Answer: what a way makes of one input; burst: how long it took over many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """One input's.

    Attributes:
        at: which of the inputs that were handed over.
        ids: what was generated, the end token dropped.
        decoded: how many tokens that were, the end token included.
        disc: ``(D,)`` float32, of length 1, or None.
        gen: likewise.
    """

    at: int
    ids: tuple[int, ...] = ()
    decoded: int = 0
    disc: Vector | None = None
    gen: Vector | None = None


@dataclass(frozen=True, slots=True)
class Burst:
    """What some requests took.

    Attributes:
        seconds: all together, by the clock.
        cpu_s: of the processor, all threads of the process; not of processes that vLLM starts.
        latencies: of each request, from when it was handed over; seconds.
        batch: size of the batches where the way was free to choose it, else None.
    """

    seconds: float
    cpu_s: float
    latencies: tuple[float, ...]
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a way makes of the inputs by which ways are compared.

    Attributes:
        vectors: input → its disc and gen with a completion forced, each where the way gives it.
        written: input → the ids that the model wrote freely.
    """

    vectors: dict[str, tuple[Vector | None, Vector | None]]
    written: dict[str, tuple[int, ...]]
