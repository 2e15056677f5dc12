"""Agreement: how much two versions of an index give the same answers to a set of questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.types import Space

if TYPE_CHECKING:
    from ume_r1_rag.retriever import Question, Retriever

PERSISTENCE = 0.9
"""The p of rank-biased overlap: the first ten ranks have 86 % of the weight."""


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


@dataclass(frozen=True, slots=True)
class Answers:
    """What one version answers to some questions.

    Attributes:
        space: by which space.
        k: at most so many hits each.
        keys: of each question the keys of its hits, the best first; None where the encoder cannot read it.
    """

    space: Space
    k: int
    keys: tuple[tuple[str, ...] | None, ...]


def ask(retriever: Retriever, questions: Sequence[Question], space: Space, k: int = 10) -> Answers:
    """Returns what a version answers, to be compared by :func:`agreement` when its encoder is gone.

    Args:
        retriever: the version with its own encoder.
        questions: at least one.
        space: by which space.
        k: hits to compare.

    Raises:
        ConfigError: the encoder can read none of the questions.
    """
    keys: list[tuple[str, ...] | None] = []
    for question in questions:
        try:
            found = retriever.search(question.input, k, space, kind=question.kind_for(retriever.encoder))
        except InputError:  # a picture, say, for a model that reads text
            keys.append(None)
        else:
            keys.append(tuple(hit.key for hit in found.hits))
    if all(one is None for one in keys):
        raise ConfigError(f"there is no question that the encoder can read ({len(keys)} were left out)")
    return Answers(space, k, tuple(keys))


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
    space, asked = _common_space(before, after), list(questions)
    return agreement(ask(before, asked, space, k), ask(after, asked, space, k), asked)


def agreement(before: Answers, after: Answers, questions: Sequence[Question]) -> Agreement:
    """Returns how alike the answers of two versions to the same questions are.

    Args:
        before: the present version's.
        after: the next one's, by the same space and as many.
        questions: what both were asked.

    Raises:
        ConfigError: there is no question that both encoders can read.
    """
    k = before.k
    overlap = rbo = 0.0
    asked = left_out = same = gold = hit_before = hit_after = 0
    for question, old, new in zip(questions, before.keys, after.keys, strict=True):
        if old is None or new is None:
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
        space=before.space,
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
