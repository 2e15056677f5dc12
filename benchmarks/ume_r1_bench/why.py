"""``python -m ume_r1_bench.why``: questions that disc misses and gen finds, and the reverse, as a page.

Asked are held-out queries of the world, chosen by a rule that does not know the answers: of each family those
to its first pool of candidates, in order, at most ``--limit``. All of them are counted; shown are, of each of
the two cases, the first of a family, of four families. Nothing is chosen by how good it looks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from ume_r1_bench.world import make_world, read_corpus, read_queries
from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.types import Document as Entry
from ume_r1_rag.types import Embedding, Hit, ItemKind, MultimodalInput, Space

if TYPE_CHECKING:
    from ume_r1_bench.world import Document, Query
    from ume_r1_rag.encoder import UmeR1Encoder
    from ume_r1_rag.results_page import Section

Case = Literal["both", "gen alone", "disc alone", "neither"]
CASES: Final[tuple[Case, ...]] = ("both", "gen alone", "disc alone", "neither")
LIMIT: Final = 24
SHOWN: Final = 4
"""Families of a case on the page."""
ON_PAGE: Final = 3
"""Hits of a question on the page, for each space."""

_KINDS: Final[Mapping[str, ItemKind]] = {"picture": "image", "page": "page", "clip": "clip", "text": "text"}
_TOLD: Final[Mapping[Case, str]] = {
    "gen alone": "Gen finds, disc misses",
    "disc alone": "Disc finds, gen misses",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what each space made of it.

    Attributes:
        query: the question.
        embedding: its embedding.
        hits: per space every candidate, best first.
        right: per space whether the right one stands alone at the top.
        picture: what it asks about, as a small JPEG; None if it is words alone.
    """

    query: Query
    embedding: Embedding
    hits: Mapping[Space, Sequence[Hit]]
    right: Mapping[Space, bool]
    picture: bytes | None

    @property
    def case(self) -> Case:
        """By which spaces it was found."""
        if self.right["disc"] == self.right["gen"]:
            return "both" if self.right["gen"] else "neither"
        return "gen alone" if self.right["gen"] else "disc alone"


@dataclass(frozen=True, slots=True)
class Why:
    """What was asked, and how it came out.

    Attributes:
        asked: every question, in order.
        model: the model's name.
    """

    asked: Sequence[Asked]
    model: str

    @property
    def counts(self) -> Counter[Case]:
        """How many questions there are of each case."""
        return Counter(one.case for one in self.asked)

    @property
    def summary(self) -> str:
        """The counts as a sentence."""
        counts = self.counts
        told = ", ".join(f"{counts[case]} {_SAID[case]}" for case in CASES)
        disc, gen = (sum(one.right[space] for one in self.asked) for space in ("disc", "gen"))
        either = len(self.asked) - counts["neither"]
        return (
            f"Of {len(self.asked)} questions, {told}. Disc alone answers {disc}, gen {gen}, and whoever knew "
            f"which of them to ask would answer {either}."
        )

    def table(self) -> str:
        """Returns the counts for each family."""
        head = f"{'family':<18}" + "".join(f"{case:>12}" for case in CASES)
        lines = [head, "-" * len(head)]
        for family in dict.fromkeys(one.query.family for one in self.asked):
            counts = Counter(one.case for one in self.asked if one.query.family == family)
            lines.append(f"{family:<18}" + "".join(f"{counts[case]:>12}" for case in CASES))
        lines.append(f"{'all':<18}" + "".join(f"{self.counts[case]:>12}" for case in CASES))
        return "\n".join(lines)

    def shown(self, case: Case, most: int = SHOWN) -> list[Asked]:
        """Returns the first question of a case in each family, of the first ``most`` families.

        Families that look for something to be seen go before those that look for words.
        """
        first: dict[str, Asked] = {}
        for one in self.asked:
            if one.case == case:
                first.setdefault(one.query.family, one)
        return sorted(first.values(), key=lambda one: one.hits["disc"][0].kind == "text")[:most]

    def page(self) -> str:
        """Returns the page: of each question shown, the first hits by disc and by gen, with reasonings."""
        from ume_r1_rag.results_page import render_results

        sections = [
            section
            for case in ("gen alone", "disc alone")
            for one in self.shown(case)
            for section in _sections(one, _TOLD[case])
        ]
        return render_results(
            sections,
            title="Why two embeddings",
            subtitle=f"{self.summary} Shown is the first of each family and case. Model: {self.model}.",
            open_reasoning=True,
        )


_SAID: Final[Mapping[Case, str]] = {
    "both": "are found by both",
    "gen alone": "by gen alone",
    "disc alone": "by disc alone",
    "neither": "by neither",
}


def ask_why(
    encoder: UmeR1Encoder, data: Path | None = None, limit: int = LIMIT, progress: bool = False
) -> Why:
    """Asks held-out questions in both spaces.

    Args:
        encoder: what encodes.
        data: a world's directory; default makes the test split in a temporary one.
        limit: at most so many questions a family.
        progress: whether to show bars.

    Raises:
        ConfigError: ``limit`` is not positive.
    """
    if limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            make_world(folder, split="test", progress=progress)
        root = data or Path(folder)
        queries = choose(read_queries(root), limit)
        wanted = {id for query in queries for id in query.candidates}
        documents = {one.id: one for one in read_corpus(root) if one.id in wanted}
        inputs = [_input(query.text, query.image, query.video) for query in queries]
        asked = encoder.encode(inputs, "both", show_progress=progress)
        stored = [_input(one.text, one.image, one.frames) for one in documents.values()]
        found = encoder.encode(stored, "both", show_progress=progress)
        embeddings = dict(zip(documents, found, strict=True))
        entries = {id: _entry(one, embeddings[id]) for id, one in documents.items()}
        return Why(
            [_ranked(q, e, embeddings, entries) for q, e in zip(queries, asked, strict=True)], encoder.model
        )


def choose(queries: Iterable[Query], limit: int) -> list[Query]:
    """Returns of each family the first queries that rank the same candidates as its first one."""
    pools: dict[str, frozenset[str]] = {}
    chosen: dict[str, list[Query]] = {}
    for query in queries:
        pool = pools.setdefault(query.family, frozenset(query.candidates))
        of_family = chosen.setdefault(query.family, [])
        if frozenset(query.candidates) == pool and len(of_family) < limit:
            of_family.append(query)
    return [query for family in sorted(chosen) for query in chosen[family]]


def _ranked(
    query: Query, asked: Embedding, embeddings: Mapping[str, Embedding], entries: Mapping[str, Hit]
) -> Asked:
    spaces: tuple[Space, ...] = ("disc", "gen")
    scores = {
        space: {
            id: float(np.dot(asked.vector(space), embeddings[id].vector(space))) for id in query.candidates
        }
        for space in spaces
    }
    hits = {
        space: [
            replace(entries[id], score=score, scores={other: scores[other][id] for other in spaces})
            for id, score in sorted(scores[space].items(), key=lambda one: -one[1])
        ]
        for space in spaces
    }
    # A tie at the top is not found: an embedding that is always the same would find everything.
    right = {
        space: all(score < of[query.gold] for id, score in of.items() if id != query.gold)
        for space, of in scores.items()
    }
    return Asked(query, asked, hits, right, _thumbnail(query.image, query.video))


def _input(text: str | None, image: Path | None, frames: Sequence[Path]) -> MultimodalInput:
    if frames:
        return MultimodalInput(text=text, video=tuple(frames))
    return MultimodalInput(text=text, images=() if image is None else (image,))


def _entry(one: Document, embedding: Embedding) -> Hit:
    """Returns a candidate as the page shows it."""
    small = _thumbnail(one.image, one.frames)
    own = one.text if one.kind == "text" else ""
    entry = Entry(
        one.id,
        _KINDS[one.kind],
        _input(one.text, one.image, one.frames),
        title=one.id if own is None or small else own,
        text=own or "",
        thumbnail=small,
    )
    return payloads.hit(payloads.build(entry, embedding, one.id), one.id)


def _thumbnail(image: Path | None, frames: Sequence[Path]) -> bytes | None:
    """Returns a preview: of a clip its frames side by side, as one alone tells nothing."""
    from PIL import Image

    from ume_r1_rag.media import load_image, thumbnail

    if not frames:
        return None if image is None else thumbnail(load_image(image))
    pictures = [load_image(frame) for frame in frames]
    strip = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height))
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width
    return thumbnail(strip)


def _sections(one: Asked, told: str) -> list[Section]:
    from ume_r1_rag.results_page import Section

    query = one.query
    return [
        Section(
            text=f"{told}: {query.text}",
            hits=one.hits[space],
            thumbnail=one.picture,
            reasoning=one.embedding.reasoning if space == "gen" else None,
            summary=one.embedding.summary if space == "gen" else None,
            gold=[query.gold],
            mode=f"{query.family} · by {space}",
            spaces=(space,),
            most=ON_PAGE,
        )
        for space in ("disc", "gen")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if everything ran, however it came out; 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m ume_r1_bench.why",
        description="Asks held-out questions by disc and by gen, counts who finds what, and writes a page.",
    )
    parser.add_argument("--model", default="nano", help="a model name or directory; default nano")
    parser.add_argument("--data", type=Path, help="a world (ume-r1 world make DIR); default makes one")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"questions a family; default {LIMIT}")
    parser.add_argument("--out", type=Path, default=Path("why.html"), help="the page; default why.html")
    options = parser.parse_args(arguments)
    from ume_r1_rag.encoder import UmeR1Encoder

    began = time.monotonic()
    try:
        why = ask_why(UmeR1Encoder(options.model), options.data, options.limit, sys.stderr.isatty())
        options.out.write_text(why.page(), encoding="utf-8")
    except (UmeR1Error, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{why.table()}\n\n{why.summary}\n{options.out} shows some, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
