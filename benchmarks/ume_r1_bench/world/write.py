"""Writing a world: the files, and the lines that name them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_bench.world.corpus import CORPUS, QUERIES, CorpusWriter
from ume_r1_bench.world.demo import FILES, QUESTIONS, make_demo
from ume_r1_bench.world.lesson import Lessons
from ume_r1_bench.world.pool import make_pools
from ume_r1_bench.world.record import pair_record
from ume_r1_bench.world.shelf import Shelf
from ume_r1_bench.world.split import WorldError, check_split, make_rng

RECORDS: Final = "UME-sft-train.jsonl"
PAIRS: Final = 60_000


@dataclass(frozen=True, slots=True)
class WorldSummary:
    """What was written.

    Attributes:
        directory: where.
        split: whose contents.
        records: training records.
        documents: lines of the corpus.
        queries: family → queries.
        files: pictures, pages and clips.
    """

    directory: Path
    split: str
    records: int
    documents: int
    queries: dict[str, int]
    files: int


def write_lines(path: Path, lines: Iterable[Any]) -> int:
    """Writes one JSON object a line and returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def make_world(
    directory: str | os.PathLike[str],
    split: str = "test",
    seed: int = 0,
    *,
    sft: bool = False,
    pairs: int | None = None,
    progress: bool = True,
) -> WorldSummary:
    """Writes a world: training records, a corpus with queries, or a demo folder with questions.

    Args:
        directory: where to; made if need be.
        split: ``train``, ``dev``, ``test`` or ``demo``; a content belongs to one by its own hash.
        seed: which contents of the split.
        sft: training records in place of a corpus with queries; of ``train`` alone.
        pairs: about how many records; default 60 000.
        progress: whether a progress bar is shown.

    Raises:
        WorldError: there is no such split or the options do not go together.
    """
    check_split(split)
    root = Path(directory)
    if pairs is not None and (not sft or pairs < 1):
        raise WorldError(f"pairs={pairs!r} is the number of training records: give at least 1, and sft=True")
    if sft and split != "train":
        # Five siblings in one small split hardly ever occur, so the search for them would not end.
        raise WorldError(f"split={split!r} has too few siblings for training records: sft=True needs 'train'")
    root.mkdir(parents=True, exist_ok=True)
    if sft:
        return write_records(root, split, seed, pairs or PAIRS, progress=progress)
    if split == "demo":
        questions = make_demo(root, seed)
        count = write_lines(root / QUESTIONS, questions)
        return WorldSummary(root, split, 0, 0, {"demo": count}, len(list((root / FILES).iterdir())))
    return write_corpus(root, split, seed, progress=progress)


def write_records(root: Path, split: str, seed: int, pairs: int, *, progress: bool) -> WorldSummary:
    """Writes training records and the media they show."""
    shelf = Shelf(root, keep=False)
    count = 0
    families: dict[str, int] = {}
    with (root / RECORDS).open("w", encoding="utf-8") as file:
        for family, groups in Lessons(split, seed, pairs):
            for group in tqdm(groups, desc=family, disable=not progress, leave=False):
                for pair in group:
                    file.write(json.dumps(pair_record(pair, shelf), ensure_ascii=False) + "\n")
                    families[family] = families.get(family, 0) + 1
                    count += 1
    return WorldSummary(root, split, count, 0, families, len(shelf.placed))


def write_corpus(root: Path, split: str, seed: int, *, progress: bool) -> WorldSummary:
    """Writes a corpus with queries and the media they show."""
    shelf = Shelf(root, keep=True)
    writer = CorpusWriter(shelf, make_rng("order", split, seed))
    for pool in tqdm(make_pools(split, seed), desc="pools", disable=not progress, leave=False):
        writer.add(pool)
    # A shelf's files are numbered as they are placed, which the writer does in random order.
    documents = write_lines(root / CORPUS, writer.documents)
    write_lines(root / QUERIES, sorted(writer.queries, key=lambda line: str(line["id"])))
    return WorldSummary(root, split, 0, documents, writer.families, len(shelf.placed))
