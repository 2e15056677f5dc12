"""Searching: every question through the project's retriever, kept on disk so that a stopped run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_bench.visdoc.corpus import Corpus, Question, page_id
from ume_r1_rag.errors import EncodeErrors, InputError, UmeR1Error
from ume_r1_rag.retriever import Retriever

if TYPE_CHECKING:
    from ume_r1_bench.visdoc.configuration import Configuration
    from ume_r1_rag.retriever import SearchResult
    from ume_r1_rag.types import Encoder

DEPTH = 100
"""Pages that are asked for: documents are ranked by their best page among them."""

BATCH = 32
TIMED = 16
"""Questions that are asked once more, one by one, for the time that somebody waits for an answer."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a configuration found for one question.

    Attributes:
        id: the question's id.
        pages: ids of pages, best first.
        scores: their scores.
        seconds: its share of its batch's time.
        error: why nothing could be found; None if that did not happen.
    """

    id: str
    pages: tuple[str, ...]
    scores: tuple[float, ...]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a configuration found.

    Attributes:
        rankings: by the question's id.
        waits: seconds of single searches, see :data:`TIMED`.
    """

    rankings: Mapping[str, Ranking]
    waits: Sequence[float]

    @property
    def per_1000(self) -> float | None:
        """Seconds for 1,000 questions in batches; None without any."""
        times = [one.seconds for one in self.rankings.values()]
        return 1000 * sum(times) / len(times) if times else None


class Searcher:
    """Asks one configuration.

    Attributes:
        configuration: which.
        retriever: what searches.
    """

    def __init__(
        self, configuration: Configuration, retriever: Retriever, corpus: Corpus, kept: Path, mark: str
    ) -> None:
        """Takes what it asks.

        Args:
            configuration: which.
            retriever: what searches.
            corpus: whose questions.
            kept: the file of rankings; those of the same mark are taken from it.
            mark: all that rankings depend on.
        """
        self.configuration, self.retriever = configuration, retriever
        self._corpus, self._kept, self._mark = corpus, kept, mark
        self._names = corpus.names

    def search(self, progress: bool = False) -> Found:
        """Returns what was found for all questions."""
        from tqdm import tqdm

        found = self._read()
        missing = [one for one in self._corpus.questions if one.id not in found]
        waits = self._waits() if missing else None
        told = f"searching {self.configuration.name}"
        with tqdm(total=len(missing), desc=told, unit=" questions", disable=not progress) as bar:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                rankings = self._batch(batch)
                texts = [{"text": one.text} for one in batch]
                self._append([{**asdict(one), **text} for one, text in zip(rankings, texts, strict=True)])
                found |= {one.id: one for one in rankings}
                bar.update(len(batch))
        if waits is not None:
            self._append([{"waits": waits}])
        waited = [line["waits"] for line in self._lines() if "waits" in line]
        wanted = {one.id: found[one.id] for one in self._corpus.questions}
        return Found(wanted, waited[-1] if waited else ())

    def _batch(self, questions: Sequence[Question]) -> list[Ranking]:
        began = time.perf_counter()
        try:
            results: list[SearchResult | UmeR1Error] = list(self._ask([one.text for one in questions]))
        except (EncodeErrors, InputError):
            results = [self._single(one) for one in questions]
        share = (time.perf_counter() - began) / len(questions)
        return [self._ranking(one, result, share) for one, result in zip(questions, results, strict=True)]

    def _single(self, question: Question) -> SearchResult | UmeR1Error:
        try:
            return self._ask([question.text])[0]
        except (EncodeErrors, InputError) as error:
            return error

    def _ask(self, texts: list[str]) -> list[SearchResult]:
        encoder: Encoder | None = self.retriever.encoder
        kind = "page" if encoder is not None and "page" in encoder.kinds else None
        return self.retriever.search_batch(texts, DEPTH, self.configuration.mode, kind=kind)

    def _ranking(self, question: Question, result: SearchResult | UmeR1Error, share: float) -> Ranking:
        if isinstance(result, UmeR1Error):
            return Ranking(question.id, (), (), share, str(result))
        pages = [
            page_id(self._names[hit.document], hit.page or 1) if hit.document in self._names else hit.key
            for hit in result.hits
        ]
        return Ranking(question.id, tuple(pages), tuple(hit.score for hit in result.hits), share)

    def _waits(self) -> list[float]:
        """Returns the seconds of single searches, after one that warms up."""
        waits = []
        for one in [*self._corpus.questions[:1], *self._corpus.questions[:TIMED]]:
            began = time.perf_counter()
            self._single(one)
            waits.append(time.perf_counter() - began)
        return waits[1:]

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yields what the file holds of this mark; a line that was cut off ends it."""
        if not self._kept.is_file():
            return
        with self._kept.open(encoding="utf-8") as file:
            for line in file:
                try:
                    found = json.loads(line)
                except ValueError:
                    return
                if found.pop("mark", None) == self._mark:
                    yield found

    def _read(self) -> dict[str, Ranking]:
        texts = {one.id: one.text for one in self._corpus.questions}
        rankings = [
            Ranking(**{**line, "pages": tuple(line["pages"]), "scores": tuple(line["scores"])})
            for line in self._lines()
            if "waits" not in line and line.pop("text") == texts.get(line["id"])
        ]
        return {one.id: one for one in rankings}

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        with self._kept.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"mark": self._mark, **line}) + "\n" for line in lines)
