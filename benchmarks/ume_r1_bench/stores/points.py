"""Points: invented pages with random vectors, and words in Zipf's proportions; the same every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ume_r1_rag.types import Document, Embedding, MultimodalInput

PAGES: Final = 10
"""Pages of a file."""

SHELVES: Final = 10
"""Values of the metadata field that searches filter by: a tenth of the points has each."""

_WORDS: Final = 20_000
_SYLLABLES: Final = "ba ce di fo gu ka le mi no pu ra se ti vo zu scha len mor tin gas".split()
_SHORTEST: Final = 120
VARIETY: Final = 200
"""Of so many points in a row no two have texts of one length, so that no two tie in BM25."""

_REASONING: Final = 120
_SUMMARY: Final = 20

_THUMBNAIL: Final = 4_000
_NOISE: Final = 0.7


@dataclass(frozen=True, slots=True)
class Block:
    """Points that are written in one call.

    Attributes:
        documents: the documents.
        embeddings: one for each, with both vectors.
    """

    documents: list[Document]
    embeddings: list[Embedding]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query, made from a stored point.

    Attributes:
        embedding: both of its vectors: the point's, with as much noise.
        words: three of the point's.
        shelf: the one that a filtered search looks on.
    """

    embedding: Embedding
    words: str
    shelf: int


class Points:
    """Makes points and queries; each is a function of the seed, its number and the dimension.

    Attributes:
        dimension: D.
        fingerprint: what an index is told of the encoder.
    """

    def __init__(self, dimension: int, seed: int = 0) -> None:
        """Makes the vocabulary."""
        self.dimension, self._seed = dimension, seed
        self.fingerprint = {"weights": f"random-{seed}", "dimension": dimension, "think": "full"}
        rng = np.random.default_rng([seed, 1])
        drawn = rng.integers(len(_SYLLABLES), size=(_WORDS, 3))
        self._vocabulary = np.array(["".join(_SYLLABLES[at] for at in row) for row in drawn])
        shares = 1 / np.arange(1, _WORDS + 1)
        self._upto = np.cumsum(shares / shares.sum())

    def block(self, start: int, count: int) -> Block:
        """Returns the points of ``count`` consecutive numbers."""
        made = [self._point(number) for number in range(start, start + count)]
        return Block([document for document, _ in made], [embedding for _, embedding in made])

    def queries(self, count: int, points: int) -> list[Query]:
        """Returns queries for a store of the first ``points`` points."""
        rng = np.random.default_rng([self._seed, 3])
        made = []
        for number in rng.integers(points, size=count).tolist():
            document, embedding = self._point(number)
            vectors = (self._unit(rng, embedding.vector(space)) for space in ("disc", "gen"))
            words = rng.choice(document.text.split(), 3, replace=False)
            made.append(Query(Embedding(*vectors), " ".join(words), int(document.metadata["shelf"])))
        return made

    def _point(self, number: int) -> tuple[Document, Embedding]:
        rng = np.random.default_rng([self._seed, 2, number])
        file, page = f"/corpus/{number // PAGES:06d}.pdf", number % PAGES + 1
        document = Document(
            key=f"{file}#page={page}",
            kind="page",
            input=MultimodalInput(text=file),
            uri=file,
            title=file.rpartition("/")[2],
            text=self._text(rng, _SHORTEST + number % VARIETY),
            page=page,
            thumbnail=rng.bytes(_THUMBNAIL),
            metadata={"shelf": int(rng.integers(SHELVES))},
            document=file,
            content_hash=hashlib.sha256(f"{self._seed}/{number}".encode()).hexdigest(),
        )
        embedding = Embedding(
            self._unit(rng),
            self._unit(rng),
            reasoning=self._text(rng, _REASONING),
            summary=self._text(rng, _SUMMARY),
            gen_valid=True,
            fingerprint="random",
        )
        return document, embedding

    def _text(self, rng: np.random.Generator, words: int) -> str:
        at = np.searchsorted(self._upto, rng.random(words))
        return " ".join(self._vocabulary[np.minimum(at, _WORDS - 1)].tolist())

    def _unit(self, rng: np.random.Generator, near: Any = None) -> Any:
        """Returns a ``(D,)`` float32 vector of length 1, in any direction or near another one."""
        drawn = rng.standard_normal(self.dimension, dtype=np.float32)
        drawn /= np.linalg.norm(drawn)
        if near is not None:
            drawn = near + _NOISE * drawn
            drawn /= np.linalg.norm(drawn)
        return drawn
