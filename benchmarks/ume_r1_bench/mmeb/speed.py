"""Speed: disc and gen of some tasks, our way against the official evaluator's.

Its way, done by our own encoder so that the same code computes the same vectors: inputs in the rows' order,
four at a time, all of them by disc and then all of them by gen. ``official`` takes the candidates of every
row as they come; ``official, once`` takes each candidate's name once, as its evaluator does before it
encodes. ``ours`` is what ``ume-r1 bench mmeb`` does: each content once, both in one pass, in batches of 32
of like length.

All of it is really run, in turns, none extrapolated. With duplicates it takes as long as it takes, hence few
queries by default.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.modes import Side
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.score import Placed
from ume_r1_bench.mmeb.vectors import Vectors
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.row import TaskData
    from ume_r1_bench.mmeb.task import Task
    from ume_r1_rag.encoder import UmeR1Encoder
    from ume_r1_rag.types import Mode, MultimodalInput

OFFICIAL_BATCH: Final = 4
WITH: Final = 5.0
WITHOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Took:
    """How long something took.

    Attributes:
        clock_s: seconds that passed.
        cpu_s: seconds of the processor, over all threads.
    """

    clock_s: float
    cpu_s: float

    def told(self) -> str:
        """Returns both, aligned."""
        return f"{self.clock_s:>9.1f} s, of the processor {self.cpu_s:>8.1f} s"


@dataclass(frozen=True, slots=True)
class Speed:
    """What was timed.

    Attributes:
        model: its name.
        tasks: how many.
        queries: of them all.
        in_rows: queries and candidates as the rows have them.
        by_name: the same with each candidate's name once.
        by_content: different contents.
        official: time of the official way over all of the rows; the least of the rounds, as all.
        once: of the official way over each name once.
        ours: of ours.
        rounds: how often each had its turn.
    """

    model: str
    tasks: int
    queries: int
    in_rows: int
    by_name: int
    by_content: int
    official: Took
    once: Took
    ours: Took
    rounds: int

    @property
    def with_duplicates(self) -> float:
        """How many times quicker ours is than the official way over all of the rows."""
        return self.official.clock_s / self.ours.clock_s

    @property
    def without(self) -> float:
        """How many times quicker ours is where duplicates are removed for both."""
        return self.once.clock_s / self.ours.clock_s

    def table(self) -> str:
        """Returns the figures and whether the goals are met."""
        lines = [
            f"{self.tasks} tasks, {self.queries} queries, {self.model}, disc and gen, best of {self.rounds}",
            f"  official, every row      {self.in_rows:>6} inputs {self.official.told()}",
            f"  official, each name once {self.by_name:>6} inputs {self.once.told()}",
            f"  ours, each content once  {self.by_content:>6} inputs {self.ours.told()}",
            f"duplication: an input occurs {self.in_rows / self.by_content:.1f} times by content",
            _goal("with duplicates", self.with_duplicates, self.official.cpu_s / self.ours.cpu_s, WITH),
            _goal("without duplicates", self.without, self.once.cpu_s / self.ours.cpu_s, WITHOUT),
        ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Returns the figures as JSON."""
        ratios = {"with_duplicates": self.with_duplicates, "without_duplicates": self.without}
        return json.dumps(asdict(self) | ratios, indent=1)


def _goal(told: str, ratio: float, by_processor: float, least: float) -> str:
    # On a busy machine the clock tells little, so both must reach it.
    judged = "met" if min(ratio, by_processor) >= least else "MISSED"
    return f"{told}: {ratio:.1f} x, by the processor {by_processor:.1f} x, goal {least:g} x: {judged}"


def run_speed(
    data: Path,
    tasks: Sequence[Task],
    model: str,
    limit: int = 8,
    seed: int = 0,
    rounds: int = 1,
    progress: bool = False,
) -> Speed:
    """Returns how long each way takes.

    Args:
        data: the data directory.
        tasks: which tasks.
        model: its name or directory.
        limit: queries of a task.
        seed: which queries.
        rounds: in which every way has its turn.
        progress: whether to show bars.

    Raises:
        ConfigError: there is nothing to be timed.
        UmeR1Error: a task cannot be read, or an input not be encoded.
    """
    from ume_r1_rag.encoder import UmeR1Encoder

    if not tasks or rounds < 1:
        raise ConfigError(f"{len(tasks)} tasks in {rounds} rounds are nothing to be timed: give one of each")
    read = [load_task(task, data, PROTOCOLS["v2.1"], limit=limit, seed=seed, online=False) for task in tasks]
    every = [one for of in read for one in _in_rows(of)]
    once = [one for of in read for one in _by_name(of)]
    ours, official = UmeR1Encoder(model), UmeR1Encoder(model, batch_size=OFFICIAL_BATCH)
    for encoder in (ours, official):
        encoder.encode(once[:2], "both", show_progress=False)  # what is loaded on first use
    contents: list[int] = []
    best = _timed(
        {
            "ours": lambda: contents.append(_ours(ours, read)),
            "once": lambda: _official(official, once, progress),
            "official": lambda: _official(official, every, progress),
        },
        rounds,
    )
    queries = sum(len(of.queries) for of in read)
    counts = (len(read), queries, len(every), len(once), contents[-1])
    return Speed(ours.model, *counts, best["official"], best["once"], best["ours"], rounds)


def _timed(ways: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, Took]:
    """Returns the least that each way took; they take turns."""
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            clock, cpu = time.perf_counter(), time.process_time()
            way()
            took[name].append(Took(time.perf_counter() - clock, time.process_time() - cpu))
    return {
        name: Took(min(one.clock_s for one in times), min(one.cpu_s for one in times))
        for name, times in took.items()
    }


def _in_rows(of: TaskData) -> list[MultimodalInput]:
    """Returns queries, then every row's candidates; those of a global task once, as its corpus is."""
    queries = [query.item.to_input() for query in of.queries]
    if of.task.scope == "global":
        return queries + [item.to_input() for item in of.candidates.values()]
    return queries + [
        of.candidates[name].to_input() for query in of.queries for name in query.candidates or ()
    ]


def _by_name(of: TaskData) -> list[MultimodalInput]:
    asked = [query.item.to_input() for query in of.queries]
    return asked + [item.to_input() for item in of.candidates.values()]


def _official(encoder: UmeR1Encoder, inputs: Sequence[MultimodalInput], progress: bool) -> None:
    modes: tuple[Mode, ...] = ("disc", "gen")
    for mode in modes:
        bar = tqdm(range(0, len(inputs), OFFICIAL_BATCH), desc=f"official, {mode}", disable=not progress)
        for start in bar:
            encoder.encode(inputs[start : start + OFFICIAL_BATCH], mode, show_progress=False)


def _ours(encoder: UmeR1Encoder, read: Sequence[TaskData]) -> int:
    """Returns how many contents were encoded."""
    sides = (Side("disc"), Side("gen"))
    with tempfile.TemporaryDirectory() as folder:
        vectors = Vectors(encoder, Path(folder))
        for of in read:
            placed = Placed.of(of, vectors.contents)
            vectors.fill(dict.fromkeys((*placed.queries, *placed.candidates.values()), sides))
        return len(vectors.disc())
