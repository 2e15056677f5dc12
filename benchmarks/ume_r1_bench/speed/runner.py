"""Runner: a model held ready for one or more ways, timed from within its own process."""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ume_r1_bench.speed.answer import Answer, Burst, Shown
from ume_r1_bench.speed.cell import Kind
from ume_r1_bench.speed.item import items, thought
from ume_r1_bench.speed.way import ABOUT, Way
from ume_r1_bench.stores.errors import BenchError

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput

_SPARE: Final = 8
"""Tokens beyond a script's end: a model that does not end there is found out."""

_WARM_FROM: Final = 500_000
"""Number of the first input that is run and not timed."""

_WARM: Final = 4
_WARM_TOKENS: Final = 8


class Runner(ABC):
    """What a way is run by."""

    def __init__(self) -> None:
        """Keeps the libraries' bars and advice from the terminal."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        self.batch: int | None = None

    @abstractmethod
    def answer(
        self, way: Way, wave: Sequence[MultimodalInput], cap: int, watched: bool = True
    ) -> Iterator[Answer]:
        """Yields every input's answer as soon as it is there.

        Args:
            way: which of those that it runs.
            wave: the inputs, handed over at once.
            cap: the most tokens to be generated; 0 for disc alone.
            watched: whether to stop loops, where the way does that.
        """

    @abstractmethod
    def replay(self, wave: Sequence[MultimodalInput], texts: Sequence[str]) -> Iterator[Answer]:
        """Yields every input's vectors with that completion forced."""

    def close(self) -> None:  # noqa: B027 -- most are freed with their process
        """Frees the model."""

    def prepare(self, way: Way, kind: Kind, tokens: int, concurrency: int) -> None:
        """Warms up for a cell."""
        wave = items(kind, _WARM_FROM, min(_WARM, concurrency))
        list(self.answer(way, wave, min(tokens, _WARM_TOKENS)))

    def burst(self, way: Way, kind: Kind, tokens: int, concurrency: int, first: int, count: int) -> Burst:
        """Runs requests and returns what they took.

        Args:
            way: how.
            kind: of the inputs.
            tokens: that the model's script has; 0 for disc alone.
            concurrency: requests that are handed over at once.
            first: number of the first input.
            count: how many inputs.

        Raises:
            BenchError: an answer lacks its vector, or has another number of tokens.
        """
        waiting, latencies = items(kind, first, count), list[float]()
        found: list[Answer] = []
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, count, concurrency):
            handed = time.perf_counter()
            for one in self.answer(
                way, waiting[start : start + concurrency], tokens + _SPARE if tokens else 0
            ):
                latencies.append(time.perf_counter() - handed)
                found.append(one)
        taken = time.perf_counter() - began, time.process_time() - cpu
        _check(way, found, tokens, count)
        return Burst(*taken, tuple(latencies), self.batch)

    def shown(self, way: Way, kinds: Sequence[Kind], count: int, cap: int) -> Shown:
        """Returns what ways are compared by: vectors of replayed ids, and what the model writes freely."""
        vectors: dict[str, Any] = {}
        written: dict[str, tuple[int, ...]] = {}
        for kind in kinds:
            wave = items(kind, 0, count)
            if ABOUT[way].states:
                for one in self.replay(wave, [thought(number) for number in range(count)]):
                    vectors[f"{kind} {one.at}"] = (one.disc, one.gen)
            for one in self.answer(way, wave, cap, watched=False):
                written[f"{kind} {one.at}"] = one.ids
        return Shown(vectors, written)


def _check(way: Way, found: Sequence[Answer], tokens: int, count: int) -> None:
    if len(found) != count:
        raise BenchError(f"{way}: {len(found)} answers to {count} requests")
    for one in found:
        if one.decoded != tokens:
            raise BenchError(
                f"{way}: a completion of {one.decoded} tokens where the model's script has {tokens}"
            )
        if ABOUT[way].states and (one.gen if tokens else one.disc) is None:
            raise BenchError(f"{way}: an answer without its vector")
