"""The evaluation's corpus and queries: written, and read back typed."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.world.clip import Clip
from ume_r1_bench.world.families import Media, Side
from ume_r1_bench.world.page import Page
from ume_r1_bench.world.pool import Pool
from ume_r1_bench.world.scene import Scene
from ume_r1_bench.world.shelf import Shelf
from ume_r1_bench.world.split import WorldError

CORPUS: Final = "corpus.jsonl"
QUERIES: Final = "queries.jsonl"


@dataclass(frozen=True, slots=True)
class Document:
    """A line of the corpus.

    Attributes:
        id: the document's id.
        kind: ``picture``, ``page``, ``clip`` or ``text``.
        text: the text, or the instruction that goes with what is shown.
        path: the PNG, PDF or MP4.
        image: the picture, or the page as decoded from the PDF.
        frames: the clip's frames as decoded from the MP4.
    """

    id: str
    kind: str
    text: str | None
    path: Path | None
    image: Path | None
    frames: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A line of the queries.

    Attributes:
        id: the query's id.
        family: which of the eleven.
        text: what the user's turn says, instruction included.
        image: the picture or page asked about.
        video: the frames of the clip asked about.
        candidates: ids of the documents to rank.
        gold: the id of the one that answers.
    """

    id: str
    family: str
    text: str
    image: Path | None
    video: tuple[Path, ...]
    candidates: tuple[str, ...]
    gold: str


class CorpusWriter:
    """Turns pools into lines.

    Attributes:
        documents: lines of the corpus.
        queries: lines of the queries.
        families: family → its queries so far.
    """

    def __init__(self, shelf: Shelf, rng: random.Random) -> None:
        """Takes the shelf for the files and a generator for the order of the candidates."""
        self.documents: list[dict[str, Any]] = []
        self.queries: list[dict[str, Any]] = []
        self.families: dict[str, int] = {}
        self._shelf, self._rng = shelf, rng
        self._ids: dict[Media | str, str] = {}

    def add(self, pool: Pool) -> None:
        """Adds a pool's documents and queries."""
        # Ids are given in random order: a pool that lists its golds in order would tell by the id.
        ids = {side: self._document(side) for side in self._rng.sample(pool.candidates, len(pool.candidates))}
        for pair in pool.pairs:
            candidates = self._rng.sample(list(ids.values()), len(ids))
            number = self.families.get(pair.family, 0)
            self.families[pair.family] = number + 1
            line: dict[str, Any] = {"id": f"{pair.family}-{number:04d}", "family": pair.family}
            line |= {"text": pair.query.text, **self._shown(pair.query)}
            self.queries.append(line | {"candidates": candidates, "gold": ids[pair.target]})

    def _shown(self, query: Side) -> dict[str, Any]:
        if query.media is None:
            return {"image": None, "video": None}
        placed = self._shelf.place(query.media)
        return {"image": placed.image, "video": list(placed.frames) or None}

    def _document(self, side: Side) -> str:
        content = side.text if side.media is None else side.media
        if content not in self._ids:
            line = self._line(side)
            self._ids[content] = line["id"]
            self.documents.append(line)
        return self._ids[content]

    def _line(self, side: Side) -> dict[str, Any]:
        kinds = {Scene: "picture", Page: "page", Clip: "clip"}
        kind = "text" if side.media is None else kinds[type(side.media)]
        number = sum(document["kind"] == kind for document in self.documents)
        line: dict[str, Any] = {"id": f"{kind}-{number:05d}", "kind": kind, "text": side.text}
        if side.media is None:
            return line | {"path": None, "image": None, "frames": None}
        placed = self._shelf.place(side.media)
        return line | {"path": placed.path, "image": placed.image, "frames": list(placed.frames) or None}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise WorldError(
            f"no {path.name} in {path.parent}: make one with `ume-r1 world make DIR --split test`"
        )
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise WorldError(f"{where} is no JSON: {line[:80]!r}; write the world anew") from error


def _under(root: Path, paths: Iterable[str] | None) -> tuple[Path, ...]:
    return tuple(root / path for path in paths or ())


def _path(root: Path, path: str | None) -> Path | None:
    return None if path is None else root / path


def read_corpus(directory: str | os.PathLike[str]) -> list[Document]:
    """Returns the corpus of a world, its paths under ``directory``.

    Raises:
        WorldError: the file is absent or a line is no document; names the place.
    """
    root = Path(directory)
    documents = []
    for where, line in _lines(root / CORPUS):
        try:
            path, image = _path(root, line["path"]), _path(root, line["image"])
            frames = _under(root, line["frames"])
            documents.append(Document(line["id"], line["kind"], line["text"], path, image, frames))
        except (KeyError, TypeError) as error:
            raise WorldError(f"{where} is no document ({error!r}): write the world anew") from error
    return documents


def read_queries(directory: str | os.PathLike[str]) -> list[Query]:
    """Returns the queries of a world, their paths under ``directory``.

    Raises:
        WorldError: the file is absent or a line is no query; names the place.
    """
    root = Path(directory)
    queries = []
    for where, line in _lines(root / QUERIES):
        try:
            image, video = _path(root, line["image"]), _under(root, line["video"])
            told = (line["id"], line["family"], line["text"])
            queries.append(Query(*told, image, video, tuple(line["candidates"]), line["gold"]))
        except (KeyError, TypeError) as error:
            raise WorldError(f"{where} is no query ({error!r}): write the world anew") from error
    return queries
