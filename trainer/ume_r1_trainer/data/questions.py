"""Questions: queries for pages that have none, from a teacher. Ours: the paper's data bring their own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ume_r1_rag.errors import InputError
from ume_r1_rag.template import INSTRUCTIONS, THINK_CLOSE
from ume_r1_trainer.data.record import Content, make_record
from ume_r1_trainer.endpoint import Answer, ChatEndpoint, Messages, user_message

QUESTION_PROMPT: Final = (
    "This is a page of a document. Write {count} different questions that somebody might type into a search "
    "engine who does not know the page and whose answer stands on it. A question must say enough to be "
    'understood without the page: name the subject, and do not write "this page" or "the table". Use the '
    "page's language. Write one question a line and nothing else; write NONE if the page holds nothing that "
    "anybody would look for."
)

_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s*")
_TAG = re.compile(r"</?answer>|<\|(?:begin|end)_of_box\|>")


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A page as a file.

    Attributes:
        document: which one it is of.
        number: of the page, from 1.
        image: its path under the media root.
    """

    document: str
    number: int
    image: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a page.

    Attributes:
        page: that was asked about.
        records: its pairs; empty for a page that holds nothing.
        error: why there are none; None if nothing failed.
    """

    page: PagePicture
    records: list[dict[str, Any]]
    error: str | None = None


def ask_pages(
    pages: Iterable[PagePicture],
    media: Path,
    endpoint: ChatEndpoint,
    dataset: str,
    *,
    count: int = 2,
    progress: str | None = None,
) -> Iterator[Asked]:
    """Yields each page's pairs as its answer comes: a question with its instruction, and the page.

    Args:
        pages: to be asked about.
        media: where their paths start.
        endpoint: of the teacher.
        dataset: name of the data set that is made.
        count: questions of a page.
        progress: what a bar on standard error is headed; None for none.
    """
    given: list[PagePicture] = []
    faults: list[Asked] = []

    def requests() -> Iterator[Messages]:
        for page in pages:
            try:
                message = user_message(QUESTION_PROMPT.format(count=count), [media / page.image])
            except InputError as error:
                faults.append(Asked(page, [], str(error)))
                continue
            given.append(page)
            yield [message]

    for number, answer in endpoint.ask_all(requests(), progress):
        yield _asked(given[number], answer, dataset, count)
    yield from faults


def parse_questions(text: str, count: int) -> list[str]:
    """Returns at most ``count`` different questions of an answer, without numbers and bullets.

    What a teacher thought before is passed over.
    """
    lines = (
        _BULLET.sub("", line).strip() for line in _TAG.sub("", text.rpartition(THINK_CLOSE)[2]).split("\n")
    )
    found = [line for line in lines if line and line.strip(".").upper() != "NONE"]
    return list(dict.fromkeys(found))[:count]


def held_out(document: str, share: float) -> bool:
    """Returns whether a document belongs to the share that is held out; by its name alone."""
    number = int.from_bytes(hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number < share * 2**64


def _asked(page: PagePicture, answer: Answer, dataset: str, count: int) -> Asked:
    where = f"{page.document}#page={page.number}"
    if answer.error is not None:
        return Asked(page, [], answer.error)
    instruction = INSTRUCTIONS["page"]
    target = Content(instruction.document, (page.image,))
    records = [
        make_record(dataset, f"{where}/{at}", "visdoc", Content(f"{instruction.query} {question}"), target)
        for at, question in enumerate(parse_questions(answer.text, count), 1)
    ]
    return Asked(page, records)
