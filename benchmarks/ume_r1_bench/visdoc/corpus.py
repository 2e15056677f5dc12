"""Corpus: the pages to be searched, and the questions with what answers them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ume_r1_rag.errors import InputError
from ume_r1_rag.ingest.files import File

_SHOWN = 5
"""Failures that an error names."""


class VisdocError(InputError):
    """A corpus or a questions file cannot be used."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page that is given as a picture.

    Attributes:
        id: unique in the corpus.
        document: the document that it is a page of; its own id where that is not known.
        image: the picture's file.
        number: of the page in its document, from 1; None if it is not known.
        text: its text layer; empty if there is none.
    """

    id: str
    document: str
    image: Path
    number: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        id: unique in the corpus.
        text: what is asked.
        answers: the answers that count as right, any of them; empty if none are known.
        pages: the pages that answer it, each with a grade above 0.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    pages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pages and questions.

    Attributes:
        name: what it is called in reports.
        root: the folder to which the names of PDFs are relative.
        pdfs: PDFs, each with its number of pages, by name.
        pictures: pages that are pictures, in order.
        questions: the questions, each with at least one page that answers it.
        failures: what could not be read, one sentence each.
        left_out: reason -> how many questions were left out on purpose.
        has_documents: whether it is known which document a page is of.
        synthetic: whether the questions were drafted by a model.
    """

    name: str
    root: Path
    pdfs: Mapping[str, int] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    questions: tuple[Question, ...] = ()
    failures: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    has_documents: bool = True
    synthetic: bool = False

    @property
    def documents(self) -> dict[str, str]:
        """Page -> document, of every page, in order."""
        found = {page_id(name, n): name for name, count in self.pdfs.items() for n in range(1, count + 1)}
        return {**found, **{picture.id: picture.document for picture in self.pictures}}

    @property
    def names(self) -> dict[str, str]:
        """What an index calls a PDF -> its name here."""
        return {File.at(str(self.root / name)).key: name for name in self.pdfs}

    @property
    def digest(self) -> str:
        """Digest of the pages' files by name, size and time, and of their text."""
        state = hashlib.sha256()
        for path in [*(self.root / name for name in self.pdfs), *(one.image for one in self.pictures)]:
            found = path.stat()
            state.update(f"{path.name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        for one in self.pictures:
            state.update(f"{one.id}\0{one.document}\0{one.text}\n".encode(errors="surrogatepass"))
        return state.hexdigest()[:16]

    def sampled(self, limit: int | None, seed: int) -> Corpus:
        """Returns the corpus with all pages and at most ``limit`` questions, drawn without a look at them."""
        if limit is None or limit >= len(self.questions):
            return self
        chosen = set(random.Random(seed).sample(range(len(self.questions)), limit))
        kept = tuple(one for number, one in enumerate(self.questions) if number in chosen)
        return replace(self, questions=kept)


def page_id(name: str, number: int) -> str:
    """Returns the id of a PDF's page, which is numbered from 1."""
    return f"{name}#page={number}"


def usable(
    questions: Iterable[Question], pages: Mapping[str, str]
) -> tuple[list[Question], list[str], dict[str, int]]:
    """Returns the questions that can be measured, what is wrong with others, and how many were left out.

    A question without any page has nothing to be found, and is left out; one that names a page that is not
    in the corpus is wrong.

    Args:
        questions: as they were read.
        pages: the ids of the corpus's pages.
    """
    kept: list[Question] = []
    wrong: list[str] = []
    out: dict[str, int] = {}
    seen: set[str] = set()
    for one in questions:
        missing = [page for page in one.pages if page not in pages]
        if not one.pages:
            out["no page answers them"] = out.get("no page answers them", 0) + 1
        elif not one.text.strip():
            wrong.append(f"question {one.id!r} has no words: it was left out")
        elif missing:
            wrong.append(f"question {one.id!r} names {missing[0]!r}, which is no page here: it was left out")
        elif one.id in seen:
            wrong.append(f"question {one.id!r} is there twice: the second one was left out")
        else:
            kept.append(one)
            seen.add(one.id)
    return kept, wrong, out


def check_questions(questions: Sequence[Question], name: str, failures: Sequence[str] = ()) -> None:
    """Raises ``VisdocError`` if there is nothing to ask, with the first of what was wrong."""
    if not questions:
        why = "; ".join(failures[:_SHOWN])
        more = f"; and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise VisdocError(f"{name} has no question that can be measured{': ' if why else ''}{why}{more}")
