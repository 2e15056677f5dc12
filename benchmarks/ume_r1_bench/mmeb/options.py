"""Options: what a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_bench.mmeb.modes import DISC, GEN, Mode
from ume_r1_bench.mmeb.protocol import PROTOCOLS, Protocol
from ume_r1_bench.mmeb.suite import SUITES, Suite
from ume_r1_bench.mmeb.task import Task
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.reasoner import Reasoner


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for.

    Attributes:
        data: the data directory.
        out: where results go; the encodings too, unless ``encodings`` says otherwise.
        suite: which averages there are.
        tasks: what is run, usually the suite's.
        protocol: by which rows are rendered.
        modes: what is measured.
        limit: at most so many queries a task; figures are estimates then.
        seed: of that choice, of samples, and of intervals.
        samples: sampled generations of each query; two or more for the oracle's null.
        temperature: of sampling.
        ablate: whether the queries' thinking is taken away, shuffled and exchanged.
        batch: gen of queries and candidates once more, so many at a time; None leaves that null out.
        official: measure as MMEB's evaluator does, defects included.
        shard: which share of the contents is encoded, and nothing else done; ``(0, 1)`` for all.
        encodings: the folder of vectors.
        shown: queries of a task on the report.
        reasoner: writes the reasonings of mode ``ext``.
        online: whether rows that are not on disk are asked of the hub.
    """

    data: Path
    out: Path
    suite: Suite = field(default_factory=lambda: SUITES["mmeb-v2"])
    tasks: tuple[Task, ...] = ()
    protocol: Protocol = field(default_factory=lambda: PROTOCOLS["v2.1"])
    modes: tuple[Mode, ...] = (DISC, GEN)
    limit: int | None = None
    seed: int = 0
    samples: int = 0
    temperature: float = 1.0
    ablate: bool = False
    batch: int | None = None
    official: bool = False
    shard: tuple[int, int] = (0, 1)
    encodings: Path | None = None
    shown: int = 4
    reasoner: Reasoner | None = None
    online: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot be run, before anything is."""
        at, of = self.shard
        if not 0 <= at < of:
            raise ConfigError(f"shard {at}/{of} is none: count from 0, as in 0/4 to 3/4")
        if not self.modes:
            raise ConfigError("no mode is given: at least one, such as disc")
        gen = any(side.way == "gen" for mode in self.modes for side in mode.sides)
        for name, wanted in (("samples", self.samples), ("batch", self.batch), ("ablate", self.ablate)):
            if wanted and not (gen and self.gen is not None):
                raise ConfigError(f"{name}={wanted} is about gen: add a mode such as gen or gen@32")
        if self.samples and self.gen is not None and self.gen.query.think == "none":
            raise ConfigError("samples need thinking: gen@none decodes nothing, so all would be equal")
        if self.reasoner is None and self.external:
            raise ConfigError(
                "mode ext needs somebody who reasons: give --reasoner URL --reasoner-model NAME "
                "(reasoner= in Python)"
            )

    @property
    def external(self) -> bool:
        """Whether a mode needs reasonings from outside."""
        return any(side.way == "ext" for mode in self.modes for side in mode.sides)

    @property
    def gen(self) -> Mode | None:
        """The first mode in which both sides are gen, of the same thinking: what the analysis is about."""
        return next((m for m in self.modes if m.query == m.candidate and m.query.way == "gen"), None)

    @property
    def disc(self) -> Mode | None:
        """The mode in which both sides are disc, if it is measured."""
        return DISC if DISC in self.modes else None
