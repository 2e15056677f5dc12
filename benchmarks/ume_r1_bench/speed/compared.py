"""Compared: the ways on a model that is not scripted, before anything is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.speed.answer import Shown
from ume_r1_bench.speed.cell import Kind
from ume_r1_bench.speed.figure import Alike
from ume_r1_bench.speed.fleet import Fleet
from ume_r1_bench.speed.way import ABOUT, Way
from ume_r1_bench.stores.errors import BenchError

REFERENCE: Final[Way] = "card"
"""What all are held against: transformers alone, with nothing of ours."""

INPUTS: Final = 4
"""Of each kind."""

CAP: Final = 96
"""Tokens of a free completion; nano's are shorter."""


def compare_ways(
    model: str,
    path: Path,
    ways: Iterable[Way],
    kinds: Sequence[Kind],
    engine: Mapping[str, Any],
    told: Callable[[str], Any],
) -> Iterator[Alike]:
    """Yields how each way compares, one after the other.

    Args:
        model: its name.
        path: its folder.
        ways: which; two that share an engine are compared once.
        kinds: of inputs.
        engine: options of vLLM.
        told: hears whose turn it is.

    Raises:
        BenchError: what they are held against cannot be run.
    """

    def shown(way: Way) -> Shown:
        told(f"comparing {ABOUT[way].shown}")
        with Fleet(path, engine) as fleet:
            found: Shown = fleet.call(way, "shown", kinds, INPUTS, CAP)
        return found

    reference = shown(REFERENCE)
    for way in ways:
        if way in (REFERENCE, "unwatched"):
            continue
        try:
            found = shown(way)
        except BenchError as error:
            yield Alike(model, way, failed=last_line(error))
        else:
            yield _alike(model, way, found, reference)


def last_line(error: BenchError) -> str:
    """Returns the line of a traceback that says what went wrong."""
    return str(error).strip().splitlines()[-1][:200]


def _alike(model: str, way: Way, found: Shown, reference: Shown) -> Alike:
    worst: dict[int, float] = {}
    for name, pair in found.vectors.items():
        for space in (0, 1):
            mine, other = pair[space], reference.vectors[name][space]
            if other is not None and (space or ABOUT[way].disc):
                cosine = 0.0 if mine is None else float(mine @ other)
                worst[space] = min(worst.get(space, 1.0), cosine)
    same = sum(ids == reference.written[name] for name, ids in found.written.items())
    return Alike(model, way, worst.get(0), worst.get(1), same, len(found.written))
