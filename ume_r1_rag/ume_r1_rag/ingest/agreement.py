"""Agreement: how much two versions of an index give the same answers to a set of questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.inputs import to_input
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import MultimodalInput, Space

if TYPE_CHECKING:
    from ume_r1_rag.retriever import Retriever

PERSISTENCE = 0.9
"""The p of rank-biased overlap: the first ten ranks have 86 % of the weight."""

_FIELDS = ("text", "image", "video", "instruction")


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what should answer it.

    Attributes:
        input: what is asked.
        kind: instruction preset, or None; an encoder that has none of this name does without.
        gold: the key of the document that is wanted, or its end from a ``/`` on; empty if that is not known.
    """

    input: MultimodalInput
    kind: str | None = None
    gold: str = ""

    def is_answered_by(self, key: str) -> bool:
        """Returns whether a document is the one that is wanted."""
        return bool(self.gold) and (key == self.gold or key.endswith(f"/{self.gold}"))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two versions answer.

    Attributes:
        questions: how many were asked.
        left_out: how many were not, because one of the encoders cannot read them.
        space: by which space, in either version.
        k: how many hits were compared.
        overlap: mean share of the first k hits that both give, in any order.
        rbo: mean rank-biased overlap (Webber, Moffat and Zobel 2010, extrapolated, p = 0.9), which counts
            the first ranks most; 1 for equal rankings.
        same_first: how many questions have the same first hit.
        gold: how many questions say what should be found.
        hit_before: for how many of these the present version has it first.
        hit_after: for how many of these the next one has.
    """

    questions: int
    left_out: int
    space: Space
    k: int
    overlap: float
    rbo: float
    same_first: int
    gold: int
    hit_before: int
    hit_after: int


def compare(before: Retriever, after: Retriever, questions: Iterable[Question], k: int = 10) -> Agreement:
    """Returns how alike two versions answer, each with its own encoder.

    They are compared by disc if both have such vectors, else by gen.

    Args:
        before: the present version.
        after: the next one.
        questions: at least one.
        k: hits to compare.

    Raises:
        ConfigError: there is no question that both can read, or no space that both have.
    """
    space = _common_space(before, after)
    overlap = rbo = 0.0
    asked = left_out = same = gold = hit_before = hit_after = 0
    for question in questions:
        try:
            old, new = (_answer(one, question, space, k) for one in (before, after))
        except InputError:  # a picture, say, for a model that reads text
            left_out += 1
            continue
        asked += 1
        overlap += len(set(old) & set(new)) / max(len(old), len(new), 1)
        rbo += rank_biased_overlap(old, new)
        same += old[:1] == new[:1]
        gold += bool(question.gold)
        hit_before += any(map(question.is_answered_by, old[:1]))
        hit_after += any(map(question.is_answered_by, new[:1]))
    if not asked:
        raise ConfigError(f"there is no question that both encoders can read ({left_out} were left out)")
    return Agreement(
        questions=asked,
        left_out=left_out,
        space=space,
        k=k,
        overlap=overlap / asked,
        rbo=rbo / asked,
        same_first=same,
        gold=gold,
        hit_before=hit_before,
        hit_after=hit_after,
    )


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], p: float = PERSISTENCE) -> float:
    """Returns the rank-biased overlap of two rankings without repetitions, from 0 to 1.

    Extrapolated from the depth d that both have (equation 32 of Webber et al. 2010, for rankings of one
    length)::

        RBO = A_d p^d + (1 - p) / p * sum_{i=1..d} A_i p^i,   A_i = |one[:i] & other[:i]| / i
    """
    depth = min(len(one), len(other))
    if not depth:
        return float(len(one) == len(other))
    agreed, total, left, right = 0.0, 0.0, set[str](), set[str]()
    for rank in range(1, depth + 1):
        left.add(one[rank - 1])
        right.add(other[rank - 1])
        agreed = len(left & right) / rank
        total += agreed * p**rank
    return agreed * p**depth + (1 - p) / p * total


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
        raise InputError(f"{path} cannot be read as UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _question(line.strip(), path.parent)
        except (UmeR1Error, ValueError) as error:
            raise InputError(f"line {number} of {path}: {error}") from error


def _question(line: str, folder: Path) -> Question:
    if not line.startswith("{"):
        return Question(to_input({"text": line}))
    fields = json.loads(line)
    given = {name: fields[name] for name in _FIELDS if fields.get(name) not in (None, "")}
    for name in ("image", "video"):
        if isinstance(given.get(name), str):
            given[name] = folder / given[name]
    kind = fields.get("kind")
    if kind is not None and kind not in INSTRUCTIONS:
        raise InputError(f"kind={kind!r} is unknown: use one of {', '.join(sorted(INSTRUCTIONS))}")
    gold, page = str(fields.get("gold") or ""), fields.get("page")
    return Question(to_input(given), kind, f"{gold}#page={page}" if gold and page is not None else gold)


def _common_space(before: Retriever, after: Retriever) -> Space:
    covered = [one.index.coverage() for one in (before, after)]
    spaces: tuple[Space, ...] = ("disc", "gen")
    for space in spaces:
        if all(coverage[space] for coverage in covered):
            return space
    raise ConfigError(
        f"the two versions have no space in common (before {covered[0]}, after {covered[1]}): nothing can be "
        "compared"
    )


def _answer(retriever: Retriever, question: Question, space: Space, k: int) -> list[str]:
    """Returns the keys of the first k hits."""
    options: dict[str, Any] = {}
    known = retriever.encoder.kinds if retriever.encoder is not None else ()
    if question.kind in known and question.input.instruction is None:
        options["kind"] = question.kind
    return [hit.key for hit in retriever.search(question.input, k, space, **options).hits]
