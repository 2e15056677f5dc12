r"""The paper's three criteria by which a pair is left out (section 2), as pure functions of one answer.

(1) "contain extensive contiguous token repetition": some block of tokens stands again and again without a
gap. (2) "reasoning that is excessively long (e.g., exceeding 8,192 tokens)"; also an answer that the
teacher's token limit cut off, for it would have gone on. (3) "do not conform to the
``<think>...</think><answer>`` format": also where a part is empty, or holds a marker or a tag that would end
or begin another.

The paper names no figure for (1); the defaults are ours. Its tokens are words, marks and single CJK letters,
so that the criterion needs no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ume_r1_rag.template import DISC_MARKER, GEN_MARKER, THINK_CLOSE, THINK_OPEN

_ANSWER_OPEN: Final = "<answer>"

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")
_LONGEST_WORD = 24
"""A longer run of letters is no word: its letters are tokens, so that "aaaa…" is a repetition, too."""

BYTES_PER_TOKEN = 4
"""Of the estimate that stands in for a tokenizer."""


@dataclass(frozen=True, slots=True)
class RepetitionLimits:
    """When a repetition is extensive.

    Attributes:
        max_period: longest block looked for, in tokens.
        min_repeats: how often it must stand in a row.
        min_tokens: least length of the whole repetition, in tokens.
    """

    max_period: int = 100
    min_repeats: int = 5
    min_tokens: int = 50


@dataclass(frozen=True, slots=True)
class Repetition:
    """A block that stands in a row.

    Attributes:
        block: its text.
        repeats: how often, the last perhaps in part.
        tokens: length of the whole.
    """

    block: str
    repeats: float
    tokens: int

    def __str__(self) -> str:
        """Returns it in a few words."""
        return f"{self.block[:60]!r} {self.repeats:.1f} times in a row ({self.tokens} tokens)"


def find_repetition(text: str, limits: RepetitionLimits | None = None) -> Repetition | None:
    """Returns the extensive repetition of the shortest block, the longest of these; None if there is none.

    A block of p tokens repeats where token i equals token i - p: a run of n such places is a repetition of
    n + p tokens.
    """
    limits = limits or RepetitionLimits()
    spans = list(_tokens(text))
    numbers: dict[str, int] = {}
    ids = np.asarray([numbers.setdefault(text[a:b], len(numbers)) for a, b in spans], np.int32)
    for period in range(1, min(limits.max_period, len(ids) // limits.min_repeats) + 1):
        start, run = _longest_run(ids[period:] == ids[:-period])
        length = run + period
        if length >= max(limits.min_tokens, limits.min_repeats * period):
            block = text[spans[start][0] : spans[start + period - 1][1]]
            return Repetition(block, length / period, length)
    return None


def _tokens(text: str) -> list[tuple[int, int]]:
    spans = []
    for found in _TOKEN.finditer(text):
        start, end = found.span()
        spans += (
            [(start, end)] if end - start <= _LONGEST_WORD else [(at, at + 1) for at in range(start, end)]
        )
    return spans


def _longest_run(equal: np.ndarray) -> tuple[int, int]:
    """Returns start and length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], equal, [False])).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    best = int(lengths.argmax())
    return int(starts[best]), int(lengths[best])


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has: one for each four bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def reasoning_of(completion: str) -> str:
    """Returns what stands between the tags; of an unfinished thinking all there is."""
    head, opened, rest = completion.partition(THINK_OPEN)
    return (rest if opened else head).partition(THINK_CLOSE)[0]


def too_long(completion: str, most: int, count: Callable[[str], int] = estimate_tokens) -> int | None:
    """Returns the tokens of the reasoning if they are more than ``most``, else None."""
    tokens = count(reasoning_of(completion))
    return tokens if tokens > most else None


def unlike_format(completion: str) -> str | None:
    r"""Returns why a completion is not ``<think>…</think><answer>…\\n<gen_emb>``; None if it is."""
    if not completion.startswith(THINK_OPEN):
        return f"does not begin with {THINK_OPEN}: {completion[:60]!r}"
    reasoning, closed, rest = completion[len(THINK_OPEN) :].partition(THINK_CLOSE)
    if not closed:
        return f"no {THINK_CLOSE}"
    between, opened, rest = rest.partition(_ANSWER_OPEN)
    if not opened:
        return f"no {_ANSWER_OPEN} after {THINK_CLOSE}"
    if between.strip():
        return f"text between {THINK_CLOSE} and {_ANSWER_OPEN}: {between.strip()[:60]!r}"
    summary, marked, after = rest.partition(f"\n{GEN_MARKER}")
    if not marked or after.strip():
        return f"does not end with {GEN_MARKER}"
    if not reasoning.strip() or not summary.strip():
        return "no reasoning" if not reasoning.strip() else "no summary"
    for part, name in ((reasoning, "reasoning"), (summary, "summary")):
        for tag in (THINK_OPEN, THINK_CLOSE, _ANSWER_OPEN, GEN_MARKER, DISC_MARKER):
            if tag in part:
                return f"{tag} in the {name}"
    return None
