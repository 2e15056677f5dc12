"""The visual document tasks: queries, corpus and qrels, and the pages within the corpus."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ume_r1_bench.mmeb.parsers import PARSERS
from ume_r1_bench.mmeb.parsers.visdoc import ViDoRe
from ume_r1_bench.mmeb.task import Hub, Task
from ume_r1_bench.world import wording
from ume_r1_bench.world.mmeb.folder import Folder, Size, page_png
from ume_r1_bench.world.page import Page
from ume_r1_bench.world.pool import sample_pages

SPLIT: Final = "test"
_LANGUAGES: Final = ("english", "french", "german", "spanish")


@dataclass(frozen=True, slots=True)
class _Paper:
    """A page of the corpus.

    Attributes:
        id: its id.
        page: what it says.
        key: with the heading, the line of this key means it alone.
        png: what it looks like.
    """

    id: int | str
    page: Page
    key: str
    png: bytes


def write_visdoc_task(task: Task, hub: Hub, folder: Folder, rng: random.Random, size: Size) -> None:
    """Writes a task's three tables; in the layout of 2025, its pages beside them."""
    if folder.holds(task, hub):
        # The tasks of one language and of several share a repository.
        return
    papers = _papers(task, rng, size)
    asked = rng.sample(papers, size.rows)
    queries, qrels = [], []
    for number, paper in enumerate(asked):
        query: dict[str, Any] = {"query-id": number, "query": wording.word_page(paper.page, paper.key, rng)}
        if task.group == "VDRv2":
            query["language"] = _LANGUAGES[number % len(_LANGUAGES)]
        queries.append(query)
        qrels += [{"query-id": number, "corpus-id": id, "score": s} for id, s in _grades(task, paper, papers)]
    corpus: list[Mapping[str, Any]] = [
        {"corpus-id": paper.id, "image": {"bytes": paper.png, "path": None}} for paper in papers
    ]
    if folder.layout == "old":
        _write_pages(task, folder, papers)
        corpus = [{"corpus-id": paper.id} for paper in papers]
    for config, rows in (("queries", queries), ("corpus", corpus), ("qrels", qrels)):
        folder.table(task, hub, rows, config)


def _papers(task: Task, rng: random.Random, size: Size) -> list[_Paper]:
    pages = sample_pages(rng, SPLIT).pages[: max(size.pool, size.rows)]
    # Ids in random order: a corpus whose golds come first would tell by the id.
    numbers = rng.sample(range(1, len(pages) + 1), len(pages))
    papers = []
    for number, (page, key) in zip(numbers, pages, strict=True):
        id: int | str = (
            f"{page.heading.replace(' ', '_')}_{number}.png" if task.parser == "visrag" else number
        )
        papers.append(_Paper(id, page, key, page_png(page)))
    return sorted(papers, key=lambda paper: str(paper.id))


def _grades(task: Task, paper: _Paper, papers: list[_Paper]) -> list[tuple[int | str, int]]:
    """Returns the qrels of a query: of graded tasks also pages of the same heading; a 0 counts as none."""
    same = [other for other in papers if other.page.heading == paper.page.heading and other is not paper]
    others = [other for other in papers if other.page.heading != paper.page.heading]
    grades: list[tuple[int | str, int]] = [(paper.id, 1)]
    if task.graded:
        # The page is named twice: the higher grade counts.
        grades += [(other.id, 1) for other in same] + [(paper.id, 2)]
    return grades + [(other.id, 0) for other in others[:1]]


def _write_pages(task: Task, folder: Folder, papers: list[_Paper]) -> None:
    parser = PARSERS[task.parser]
    if not issubclass(parser, ViDoRe):
        return
    for paper in papers:
        folder.page(folder.media(task) / parser.file_name(str(paper.id)), paper.png)
