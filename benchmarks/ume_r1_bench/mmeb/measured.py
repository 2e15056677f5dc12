"""Measured: one task in every way that was asked for, from vectors that are on disk by now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ume_r1_bench.mmeb.analysis import Measured
from ume_r1_bench.mmeb.combined import COMBINED
from ume_r1_bench.mmeb.forcing import CHANGES, changed, forced_key
from ume_r1_bench.mmeb.modes import DISC, Mode, Side
from ume_r1_bench.mmeb.options import Options
from ume_r1_bench.mmeb.score import Placed, TaskScore, score, similarities
from ume_r1_bench.mmeb.vectors import Sampled, Vectors
from ume_r1_rag.errors import UmeR1Error

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


@dataclass(slots=True)
class TaskRun:
    """One task on its way from rows to figures.

    Attributes:
        placed: the task with its contents.
        options: what was asked for.
        vectors: where vectors are.
        reasoned: key of an item → key of the same with a reasoning from outside.
        outside: key of an item → that reasoning.
    """

    placed: Placed
    options: Options
    vectors: Vectors
    reasoned: dict[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)

    # ---- encoding

    def encode(self) -> None:
        """Encodes what is missing for all modes and for the analysis."""
        self._reason()
        wanted: dict[str, list[Side]] = {}
        for mode in self.options.modes:
            for keys, side in zip(self._keys(), mode.sides, strict=True):
                for key in self._for(side, keys):
                    wanted.setdefault(key, []).append(side)
        sampled: dict[str, Sampled] = {}
        if self.options.gen is not None and self.options.samples:
            # The analysis' thinking first: samples are of the first budget.
            sampled = dict.fromkeys(self.placed.queries, self._sampled)
            for key in sampled:
                wanted[key] = [self.options.gen.query, *wanted.get(key, [])]
        self.vectors.fill(wanted, sampled)

    def encode_nulls(self) -> None:
        """Encodes gen in other batches, and after thinking that was changed."""
        gen, options = self.options.gen, self.options
        if gen is None:
            return
        think = gen.query.think
        if options.batch is not None:
            queries, candidates = self._keys()
            self.vectors.fill_by(options.batch, think, [*queries, *candidates])
        if options.ablate:
            self.vectors.fill({key: [Side("gen", "none")] for key in self.placed.queries})
            for change in CHANGES:
                store = self.vectors.forced(change, think, options.seed)
                contents = self.vectors.contents.all
                completions = self._completions(change)
                wanted = {forced_key(key, text): (contents[key], text) for key, text in completions.items()}
                self.vectors.fill_forced(store, wanted)

    def _reason(self) -> None:
        sides = [mode.sides for mode in self.options.modes]
        roles = [any(pair[at].way == "ext" for pair in sides) for at in (0, 1)]
        keys = [key for wanted, part in zip(roles, self._keys(), strict=True) if wanted for key in part]
        contents = self.vectors.contents
        due = [key for key in dict.fromkeys(keys) if key in contents.all]
        if not due or self.options.reasoner is None:
            return
        from ume_r1_bench.mmeb.reasoner import reasoned

        for number, answer in self.options.reasoner.reason([contents.all[key].input for key in due]):
            key = due[number]
            if isinstance(answer, UmeR1Error):
                self.vectors.failures[f"{key}/ext"] = str(answer)
                continue
            one = contents.all[key]
            self.outside[key] = answer
            self.reasoned[key] = contents.add_input(reasoned(one.input, answer), one.role)

    def _keys(self) -> tuple[list[str], list[str]]:
        return list(self.placed.queries), list(self.placed.candidates.values())

    def _for(self, side: Side, keys: Sequence[str]) -> list[str]:
        """Returns the contents that stand for items on a side; an unreasoned one stands for nothing."""
        return (
            [self.reasoned[key] for key in keys if key in self.reasoned] if side.way == "ext" else list(keys)
        )

    @property
    def _sampled(self) -> Sampled:
        return Sampled(self.options.samples, self.options.temperature, self.options.seed)

    def _completions(self, change: str) -> dict[str, str]:
        gen = self.options.gen
        store = self.vectors.gen(gen.query.think if gen else "full")
        rows = {key: store.row(key) for key in dict.fromkeys(self.placed.queries) if key in store}
        return changed(change, rows, self.options.seed)  # type: ignore[arg-type]  # one of CHANGES

    # ---- measuring

    def scores(self, mode: Mode) -> Iterator[Array | None]:
        """Yields each query's scores of its candidates in a mode."""
        queries, candidates = (
            self._matrix(side, keys) for side, keys in zip(mode.sides, self._keys(), strict=True)
        )
        return similarities(self.placed, queries, candidates)

    def measure(self, mode: Mode) -> TaskScore:
        """Returns how the task came out in a mode, by all measures."""
        return score(self.placed, self.scores(mode), official=self.options.official, seed=self.options.seed)

    def samples(self) -> list[TaskScore]:
        """Returns how it came out by each sample of the queries, with the candidates' greedy gen."""
        gen = self.options.gen
        if gen is None or not self.options.samples:
            return []
        store = self.vectors.samples(gen.query.think, self._sampled)
        drawn = self.vectors.matrix(store, self.placed.queries)
        if drawn.ndim == 2:  # none could be encoded
            drawn = np.repeat(drawn[:, None], self.options.samples, axis=1)
        candidates = self._matrix(gen.candidate, self._keys()[1])
        return [
            self._main(similarities(self.placed, drawn[:, number], candidates))
            for number in range(self.options.samples)
        ]

    def lost(self) -> int:
        """Returns how many queries and candidates lack a vector in some mode."""
        gone = set()
        for mode in self.options.modes:
            for at, (side, keys) in enumerate(zip(mode.sides, self._keys(), strict=True)):
                store = self.vectors.store(side)
                for place, key in enumerate(keys):
                    there = self.reasoned.get(key, "") if side.way == "ext" else key
                    if there not in store:
                        gone.add((at, place))
        return len(gone)

    def validity(self) -> tuple[int, int]:
        """Returns how many generations there are, and how many of them are whole."""
        made = {
            (side.think, key)
            for mode in self.options.modes
            for side, keys in zip(mode.sides, self._keys(), strict=True)
            if side.way == "gen" and side.think != "none"
            for key in keys
            if key in self.vectors.store(side)
        }
        valid = [bool(self.vectors.gen(think).row(key)["valid"]) for think, key in made]
        return len(valid), sum(valid)

    def texts(self, mode: Mode, key: str) -> tuple[str, str, str]:
        """Returns reasoning, summary and flaw of a query in a mode; empty where nothing was written."""
        if mode.query.way == "ext":
            return self.outside.get(key, ""), "", ""
        store = self.vectors.store(mode.query)
        if mode.query.way == "disc" or key not in store:
            return "", "", ""
        row = store.row(key)
        return str(row["reasoning"] or ""), str(row["summary"] or ""), str(row["issue"] or "")

    def sample_texts(self, key: str) -> list[tuple[str, str]]:
        """Returns reasoning and summary of a query's samples."""
        gen = self.options.gen
        if gen is None or not self.options.samples:
            return []
        store = self.vectors.samples(gen.query.think, self._sampled)
        return [(thought, said) for thought, said in store.row(key)["texts"]] if key in store else []

    def analyse(self, done: Mapping[Mode, TaskScore], samples: Sequence[TaskScore]) -> Measured:
        """Returns every query's value of the reported measure in every way.

        Args:
            done: what is measured already.
            samples: as :meth:`samples` returns them.
        """
        gen, options, metric = self.options.gen, self.options, self.placed.data.task.metric
        values = {}
        if DISC in done:
            values["disc"] = done[DISC].values[metric]
        if gen is not None:
            values["gen"] = done[gen].values[metric]
        if gen is not None and DISC in done:
            for name, how in COMBINED.items():
                both = _together(self.scores(DISC), self.scores(gen), how)
                values[name] = self._main(both).values[metric]
        if gen is not None and options.batch is not None:
            store = self.vectors.gen(gen.query.think, options.batch)
            queries, candidates = (self.vectors.matrix(store, keys) for keys in self._keys())
            values["batch"] = self._main(similarities(self.placed, queries, candidates)).values[metric]
        if gen is not None and options.ablate:
            candidates = self._matrix(gen.candidate, self._keys()[1])
            for name, queries in self._ablated():
                values[name] = self._main(similarities(self.placed, queries, candidates)).values[metric]
        drawn = np.array([one.values[metric] for one in samples])
        return Measured(values, drawn) if len(drawn) else Measured(values)

    def _ablated(self) -> Iterator[tuple[str, Array]]:
        queries = list(self.placed.queries)
        yield "none", self._matrix(Side("gen", "none"), queries)
        think = self.options.gen.query.think if self.options.gen else "full"
        for change in CHANGES:
            store = self.vectors.forced(change, think, self.options.seed)
            texts = self._completions(change)
            keys = [forced_key(key, texts[key]) if key in texts else "" for key in queries]
            yield change, self.vectors.matrix(store, keys)

    def _main(self, scores: Iterator[Array | None]) -> TaskScore:
        options, metric = self.options, self.placed.data.task.metric
        return score(self.placed, scores, [metric], official=options.official, seed=options.seed)

    def _matrix(self, side: Side, keys: Sequence[str]) -> Array:
        store = self.vectors.store(side)
        if side.way == "ext":
            return self.vectors.matrix(store, [self.reasoned.get(key, "") for key in keys])
        return self.vectors.matrix(store, keys)


def _together(
    disc: Iterator[Array | None],
    gen: Iterator[Array | None],
    how: Callable[[Array, Array], npt.NDArray[np.float64]],
) -> Iterator[Array | None]:
    for one, other in zip(disc, gen, strict=True):
        # float64 stays: to round here would make ties.
        yield None if one is None or other is None else how(one, other)  # type: ignore[misc]
