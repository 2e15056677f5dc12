"""``ume-r1 bench world``: hit@1 of disc and gen per family of the world's held-out queries.

Each query has its own candidates: 64 distinct keys, or every label of a closed family. A tie at the top
counts as 1 / (number tied), so that a constant embedding scores chance. Nothing here chooses by the gold.
Controls take away what a family is about and should fall to chance: ``blank`` paints over the text of
pages, ``frame`` repeats a clip's middle frame.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ume_r1_bench.interval import wilson
from ume_r1_bench.world import erase_text, make_world, read_corpus, read_queries, single_frame
from ume_r1_rag.encoder import UmeR1Encoder
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Embedding, Mode, MultimodalInput, Space, Think

if TYPE_CHECKING:
    from ume_r1_bench.world import Document, Query

CONTROLS = {"blank": "page_", "frame": "clip_"}
"""Control → prefix of the families it is for."""

# The bars of the first edition; see the README for what they are worth.
CEILING = 0.95
VALID = 0.98
TIMES_CHANCE = 2.0

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class FamilyScore:
    """One family in one mode.

    Attributes:
        family: its name.
        mode: ``disc``, or ``gen`` with its think budget.
        hit: share of queries whose best candidate is the gold, ties split.
        low: lower end of the 95 % Wilson interval.
        high: upper end.
        n: queries.
        chance: mean of 1 / candidates.
    """

    family: str
    mode: str
    hit: float
    low: float
    high: float
    n: int
    chance: float


@dataclass(slots=True)
class WorldReport:
    """What a run measured.

    Attributes:
        scores: one per family and mode.
        valid: share of valid generations at think full, over queries and documents.
        generations: how many those were.
        meta: model, fingerprint, data, seed, control, seconds.
    """

    scores: list[FamilyScore] = field(default_factory=list)
    valid: float = 1.0
    generations: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    def mean(self, mode: str) -> float:
        """Returns the mean over families, every family counting the same."""
        return float(np.mean([s.hit for s in self.scores if s.mode == mode]))

    @property
    def modes(self) -> list[str]:
        """The modes measured, in order."""
        return list(dict.fromkeys(score.mode for score in self.scores))

    def bars(self) -> list[tuple[str, bool]]:
        """Returns every bar with whether it is reached; controls have theirs."""
        if self.meta.get("control"):
            high = [s for s in self.scores if s.low > s.chance]
            named = ", ".join(f"{s.family} {s.mode}" for s in high) or "none"
            return [(f"no family's interval lies above chance ({named} does)", not high)]
        weak = [s for s in self.scores if s.low < TIMES_CHANCE * s.chance and s.mode in ("disc", "gen")]
        named = ", ".join(f"{s.family} {s.mode}" for s in weak) or "none below"
        bars = [(f"every family's interval above {TIMES_CHANCE:g} x chance ({named})", not weak)]
        if {"disc", "gen"} <= set(self.modes):
            disc, gen = self.mean("disc"), self.mean("gen")
            bars.append((f"mean gen {gen:.3f} >= mean disc {disc:.3f}", gen >= disc))
            bars.append((f"neither mean above {CEILING}", max(disc, gen) <= CEILING))
        if self.generations:
            bars.append(
                (f"valid generations {self.valid:.4f} >= {VALID} of {self.generations}", self.valid >= VALID)
            )
        return bars

    @property
    def ok(self) -> bool:
        """Whether every bar is reached."""
        return all(reached for _, reached in self.bars())

    def table(self) -> str:
        """Returns the table and the bars as text."""
        width = 21
        head = f"{'family':<17}{'n':>5}{'chance':>8}" + "".join(f"{m:>{width}}" for m in self.modes)
        lines = [head, "-" * len(head)]
        for family in dict.fromkeys(score.family for score in self.scores):
            row = {s.mode: s for s in self.scores if s.family == family}
            first = next(iter(row.values()))
            cells = (f"{row[m].hit:.3f} [{row[m].low:.3f} {row[m].high:.3f}]" for m in self.modes)
            lines.append(
                f"{family:<17}{first.n:>5}{first.chance:>8.3f}" + "".join(f"{c:>{width}}" for c in cells)
            )
        lines.append(
            f"{'mean':<30}" + "".join(f"{self.mean(m):.3f}".rjust(7).ljust(width) for m in self.modes)
        )
        meta = self.meta
        lines.append(
            f"\nhit@1 [95 % Wilson interval]; model {meta.get('model')} ({meta.get('weights', '')[:12]}), "
            f"split {meta.get('split')}, world seed {meta.get('seed')}, "
            f"control {meta.get('control') or 'none'}, {meta.get('seconds', 0):.0f} s"
        )
        lines += [f"{'reached' if reached else 'MISSED '}  {text}" for text, reached in self.bars()]
        return "\n".join(lines)


def run_world_bench(
    data: Path | None = None,
    model: str | UmeR1Encoder = "nano",
    families: Sequence[str] | None = None,
    limit: int | None = None,
    control: str | None = None,
    think: Sequence[Think] = ("full", "none"),
    out: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> WorldReport:
    """Measures a model on a world.

    Args:
        data: a world's directory; default makes the test split of ``seed`` in a temporary one.
        model: a model name, or an encoder.
        families: which ones; default all (of a control: those it is for).
        limit: at most so many queries a family, drawn once and for all.
        control: ``"blank"``, ``"frame"`` or None.
        think: think budgets of gen; empty measures disc alone.
        out: where the figures go as JSON.
        seed: of the world that is made.
        progress: whether to show a bar.

    Raises:
        ConfigError: a control or a family is unknown, or the control is for none of the families.
    """
    if control is not None and control not in CONTROLS:
        raise ConfigError(f"control={control!r} is unknown: use one of {', '.join(CONTROLS)}")
    began = time.monotonic()
    encoder = model if isinstance(model, UmeR1Encoder) else UmeR1Encoder(model)
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            make_world(folder, split="test", seed=seed, progress=progress)
        report = _measure(data or Path(folder), encoder, families, limit, control, think, progress)
    fingerprint = encoder.fingerprint
    report.meta |= {
        "model": encoder.model,
        "weights": fingerprint["weights"],
        "preset": encoder.preset.name,
        "split": "test" if data is None else data.name,
        "seed": seed if data is None else "as made",
        "control": control,
        "seconds": round(time.monotonic() - began, 1),
    }
    if out is not None:
        rows = {
            "meta": report.meta,
            "valid": report.valid if report.generations else None,
            "generations": report.generations,
            "scores": [asdict(s) for s in report.scores],
        }
        out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return report


def _measure(
    data: Path,
    encoder: UmeR1Encoder,
    families: Sequence[str] | None,
    limit: int | None,
    control: str | None,
    think: Sequence[Think],
    progress: bool,
) -> WorldReport:
    queries = _chosen(read_queries(data), families, limit, control)
    needed = {candidate for query in queries for candidate in query.candidates}
    documents = [document for document in read_corpus(data) if document.id in needed]
    report = WorldReport()
    passes: list[tuple[str, Mode, Think]] = []
    for budget in think:
        # One pass gives disc beside the first gen.
        passes.append((_name(budget), "gen" if passes else "both", budget))
    for name, mode, budget in passes or [("disc", "disc", "full")]:
        found = [
            _encode(
                encoder,
                (_input(x, control) for x in items),
                len(items),
                mode,
                budget,
                f"{name} {what}",
                progress,
            )
            for items, what in ((queries, "queries"), (documents, "documents"))
        ]
        if mode != "gen":
            report.scores += _score(queries, documents, found, "disc", "disc")
        if mode != "disc":
            report.scores += _score(queries, documents, found, "gen", name)
        if budget == "full" and mode != "disc":
            flags = [bool(e.gen_valid) for part in found for e in part]
            report.valid, report.generations = float(np.mean(flags)), len(flags)
    return report


def _name(think: Think) -> str:
    return "gen" if think == "full" else f"gen think={think}"


def _chosen(
    queries: Iterable[Query], families: Sequence[str] | None, limit: int | None, control: str | None
) -> list[Query]:
    by_family: dict[str, list[Query]] = {}
    for query in queries:
        by_family.setdefault(query.family, []).append(query)
    unknown = sorted(set(families or ()) - set(by_family))
    if unknown:
        raise ConfigError(f"unknown families {', '.join(unknown)}: use {', '.join(sorted(by_family))}")
    prefix = CONTROLS[control] if control else ""
    names = [n for n in sorted(by_family) if n.startswith(prefix) and (not families or n in families)]
    if not names:
        raise ConfigError(
            f"nothing to measure of the families {', '.join(families or sorted(by_family)) or '(none)'}: "
            f"control={control!r} is for {prefix}* alone"
        )
    return [query for name in names for query in _sample(by_family[name], limit)]


def _sample(queries: list[Query], limit: int | None) -> list[Query]:
    """Returns at most ``limit`` queries: the same ones every time, and not the first, which share answers."""
    if limit is None or limit >= len(queries):
        return queries
    return [queries[at] for at in sorted(random.Random(0).sample(range(len(queries)), limit))]


def _input(item: Query | Document, control: str | None) -> MultimodalInput:
    from PIL import Image

    frames = getattr(item, "video", None) or getattr(item, "frames", None) or ()
    if frames:
        shown = single_frame(frames) if control == "frame" else frames
        return MultimodalInput(text=item.text, video=tuple(shown))
    if item.image is None:
        return MultimodalInput(text=item.text)
    if control == "blank":
        with Image.open(item.image) as image:
            return MultimodalInput(text=item.text, images=(erase_text(image),))
    return MultimodalInput(text=item.text, images=(item.image,))


def _encode(
    encoder: UmeR1Encoder,
    inputs: Iterable[MultimodalInput],
    total: int,
    mode: Mode,
    think: Think,
    what: str,
    progress: bool,
) -> list[Embedding]:
    embeddings: list[Embedding] = []
    chunk: list[MultimodalInput] = []
    with tqdm(total=total, desc=what, disable=not progress) as bar:
        for item in inputs:
            chunk.append(item)
            if len(chunk) == _CHUNK or len(embeddings) + len(chunk) == total:
                embeddings += encoder.encode(chunk, mode, think=think, show_progress=False)
                bar.update(len(chunk))
                chunk = []
    return embeddings


def _score(
    queries: Sequence[Query],
    documents: Sequence[Document],
    found: Sequence[Sequence[Embedding]],
    space: Space,
    mode: str,
) -> list[FamilyScore]:
    query, document = (np.stack([e.vector(space) for e in embeddings]) for embeddings in found)
    row = {d.id: number for number, d in enumerate(documents)}

    def scores_of(number: int) -> np.ndarray:
        shown = document[[row[candidate] for candidate in queries[number].candidates]]
        # Row by row: BLAS rounds equal rows differently by their place, and then they tie no more.
        return np.asarray((shown * query[number]).sum(axis=1))

    return score_families(queries, scores_of, mode)


def score_families(
    queries: Sequence[Query], scores_of: Callable[[int], np.ndarray], mode: str
) -> list[FamilyScore]:
    """Returns hit@1 per family.

    Args:
        queries: with candidates and gold.
        scores_of: number of a query → ``(candidates,)`` scores.
        mode: what to call them.
    """
    hits: dict[str, list[float]] = {}
    chances: dict[str, list[float]] = {}
    for number, query in enumerate(queries):
        scores = scores_of(number)
        best = np.flatnonzero(scores == scores.max())
        gold = query.candidates.index(query.gold)
        hits.setdefault(query.family, []).append(1 / len(best) if gold in best else 0.0)
        chances.setdefault(query.family, []).append(1 / len(query.candidates))
    out = []
    for family, values in hits.items():
        share = float(np.mean(values))
        low, high = wilson(share, len(values))
        out.append(FamilyScore(family, mode, share, low, high, len(values), float(np.mean(chances[family]))))
    return out
