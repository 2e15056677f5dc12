"""Question: what somebody asks, what should answer it, and a file of such."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_rag.describe import describe, printable
from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.inputs import to_input, to_query
from ume_r1_rag.template import INSTRUCTIONS

if TYPE_CHECKING:
    from ume_r1_rag.types import Encoder, MultimodalInput

_FIELDS = ("text", "image", "video", "instruction")


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what should answer it.

    Attributes:
        input: what is asked.
        kind: instruction preset, or None.
        gold: the key of the document that is wanted, or its end from a ``/`` on; empty if that is not known.
    """

    input: MultimodalInput
    kind: str | None = None
    gold: str = ""

    @property
    def shown(self) -> str:
        """Its words and the names of its files on one harmless line."""
        video = self.input.video
        files = [*self.input.images, *([] if video is None else [video])]
        names = [file.name if isinstance(file, Path) else describe(file) for file in files]
        return " ".join(printable(" + ".join([*filter(None, [self.input.text]), *names])).split())

    def is_answered_by(self, key: str) -> bool:
        """Returns whether a document is the one that is wanted."""
        return bool(self.gold) and (key == self.gold or key.endswith(f"/{self.gold}"))

    def kind_for(self, encoder: Encoder | None) -> str | None:
        """Returns the instruction preset as an encoder takes it.

        It is None for one that has none of this name, and where the question has an instruction of its own.
        """
        own = encoder is None or self.input.instruction is not None or self.kind not in encoder.kinds
        return None if own else self.kind


def read_questions(path: Path) -> Iterator[Question]:
    """Yields the questions of a file: a text a line, or a JSON object a line.

    An object has ``text``, ``image``, ``video``, ``instruction`` (files are relative to this one), ``kind``,
    ``gold`` and, for a page of the file in ``gold``, ``page``. Other fields are passed over.

    Raises:
        InputError: the file or a line cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{describe(path)} cannot be read as UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _question(line.strip(), path.parent)
        except (UmeR1Error, ValueError) as error:
            raise InputError(f"line {number} of {describe(path)}: {error}") from error


def _question(line: str, folder: Path) -> Question:
    if not line.startswith("{"):
        return Question(to_query(line))
    fields = json.loads(line)
    given = {name: fields[name] for name in _FIELDS if fields.get(name) not in (None, "")}
    if not given:
        raise InputError(f"there is nothing to ask: give some of {', '.join(_FIELDS)}")
    for name in given.keys() & {"image", "video"}:
        one = given[name]
        several = isinstance(one, list)
        given[name] = [_placed(file, folder) for file in one] if several else _placed(one, folder)
    kind = fields.get("kind")
    if kind is not None and kind not in INSTRUCTIONS:
        raise InputError(f"kind={kind!r} is unknown: use one of {', '.join(sorted(INSTRUCTIONS))}")
    gold, page = str(fields.get("gold") or ""), fields.get("page")
    return Question(to_input(given), kind, f"{gold}#page={page}" if gold and page is not None else gold)


def _placed(file: object, folder: Path) -> object:
    """Returns a path as it is meant in a file of that folder, and a URL as it is."""
    web = isinstance(file, str) and file.startswith(("http://", "https://", "data:"))
    return folder / file if isinstance(file, str) and not web else file
