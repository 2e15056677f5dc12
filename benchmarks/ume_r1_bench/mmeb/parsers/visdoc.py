"""A query → pages of a corpus, in BEIR's three tables: queries, corpus, qrels.

Source: VLM2Vec ``vidore_dataset.py`` and ``visrag_dataset.py``. Like there, pages that are in the corpus only
are written to disk at first sight, as PNG or under their own name.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import item, render
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row, require


class ViDoRe(Parser):
    """ViDoRe v1 and v2, ViDoSeek, MMLongBench: pages are keyed by their ids."""

    columns: ClassVar[tuple[str, ...]] = ("query-id", "query")

    def rows(self) -> list[Row]:
        """Returns the queries; for a task of one language, those in it."""
        rows = list(self.tables.read("queries"))
        language = self.tables.hub.language
        for row in rows:
            require(
                row, (*self.columns, "language") if language else self.columns, f"{self.task.name}'s queries"
            )
        return [row for row in rows if language is None or row["language"] == language]

    @cached_property
    def qrels(self) -> Mapping[Any, Mapping[str, float]]:
        """Query id → page → grade; of the grades above 0, and of several the highest."""
        qrels: dict[Any, dict[str, float]] = {}
        for row in self.tables.read("qrels"):
            require(row, ("query-id", "corpus-id", "score"), f"{self.task.name}'s qrels")
            if row["score"] > 0:
                grades, page = qrels.setdefault(row["query-id"], {}), str(row["corpus-id"])
                grades[page] = max(grades.get(page, 0.0), float(row["score"]))
        return qrels

    @cached_property
    def _ids(self) -> dict[str, None]:
        """The corpus' ids, in order."""
        return dict.fromkeys(str(row["corpus-id"]) for row in self.tables.read("corpus", ["corpus-id"]))

    @staticmethod
    def file_name(page: str) -> str:
        """Returns the name of a page's file."""
        return f"{page}.png"

    def query(self, row: Row) -> Item:
        """Returns the query's text."""
        return item(render(self.query_instruction, row["query"]))

    def names(self, row: Row) -> Sequence[str]:
        """Returns the pages that answer the query: they come before the corpus, in which they are as well."""
        return list(self.relevance(row))

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a page."""
        return self._page(self.names(row)[number])

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the pages that answer the query, with their grades."""
        grades = self.qrels.get(row["query-id"])
        if not grades:
            raise self.broken(row, "no page answers the query")
        stray = [page for page in grades if page not in self._ids]
        if stray:
            raise self.broken(row, f"the qrels name pages that the corpus lacks ({', '.join(stray[:3])})")
        return grades

    def corpus(self) -> Iterator[tuple[str, Item]]:
        """Yields every page."""
        yield from ((page, self._page(page)) for page in self._ids)

    def corpus_size(self) -> int:
        """Returns how many pages there are."""
        return len(self._ids)

    def _page(self, page: str) -> Item:
        shown = render(self.target_instruction, visual="image")
        return item(shown, [self.media.image(self.file_name(page))])

    def absent(self) -> list[str]:
        """Returns the pages of the corpus that are not on disk; those of another version do not count."""
        roots = self.media.roots[:1] if self.task.is_page_task else self.media.roots
        return [
            page for page in self._ids if not any((root / self.file_name(page)).is_file() for root in roots)
        ]

    def extract(self) -> int:
        """Writes the pages that only the corpus holds, and returns how many.

        Raises:
            MmebError: a page cannot be written, or is no picture.
        """
        absent = set(self.absent())
        if not absent or not self.holds_pages():
            return 0
        written = 0
        for row in self.tables.read("corpus", ["corpus-id", "image"]):
            if (page := str(row["corpus-id"])) in absent:
                self._write(self.media.roots[0] / self.file_name(page), row["image"])
                absent.discard(page)
                written += 1
        return written

    def holds_pages(self) -> bool:
        """Returns whether the corpus brings its pages along, so that they need not be on disk."""
        first = next(iter(self.tables.read("corpus")), {})
        return isinstance(first.get("image"), Mapping)

    def _write(self, path: Path, image: Mapping[str, Any] | None) -> None:
        from PIL import Image, UnidentifiedImageError

        data = (image or {}).get("bytes")
        if data is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Processes that share the work may write the same page at once.
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
            with Image.open(io.BytesIO(data)) as picture:
                # As the evaluator does: the format is the file name's, whatever it was.
                plain = picture.convert("RGB") if kind == "JPEG" and picture.mode != "L" else picture
                plain.save(part, kind)
            part.replace(path)
        except UnidentifiedImageError as error:
            raise MmebError(
                f"{self.task.name}: page {path.name} of the corpus is no picture: copy it anew"
            ) from error
        except OSError as error:
            raise MmebError(
                f"{self.task.name}: {path} cannot be written ({error}): make the folder writable, or put the "
                "pages there yourself"
            ) from error


class VisRAG(ViDoRe):
    """VisRAG: pages are keyed by their files' names, which on disk are cut short."""

    @staticmethod
    def file_name(page: str) -> str:
        """Returns 50 characters of the name, a digest of all of it, and its suffix."""
        path = PurePosixPath(page)
        suffix = path.suffix
        base = page[: len(page) - len(suffix)] if suffix else page
        digest = hashlib.md5(page.encode(), usedforsecurity=False).hexdigest()[:8]
        return f"{base[:50]}_{digest}{suffix}"
