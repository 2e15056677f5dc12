"""Cell: what is asked of every way in one comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["text", "image", "video"]
"""A line of text, a picture, a clip of 8 frames."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DISC: Final = 0
"""Tokens of a cell in which nothing is generated: disc alone."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison.

    Attributes:
        model: its name.
        kind: of the inputs.
        tokens: that each request generates, the end token among them; ``DISC`` for none.
        concurrency: requests that are handed over at once; the next follow when all are answered.
    """

    model: str
    kind: Kind
    tokens: int
    concurrency: int

    @property
    def disc(self) -> Cell:
        """The cell in which the same requests want disc alone."""
        return Cell(self.model, self.kind, DISC, self.concurrency)

    def __str__(self) -> str:
        what = f"{self.tokens} tokens" if self.tokens else "disc"
        return f"{self.model}, {self.kind}, {what}, {self.concurrency} at once"


def grid(
    model: str, kinds: Sequence[Kind], tokens: Iterable[int], concurrency: Sequence[int]
) -> Iterator[Cell]:
    """Yields a model's cells, the cheap ones first: who stops early has a whole table of them."""
    for count in sorted(tokens):
        for many in sorted(concurrency):
            for kind in kinds:
                yield Cell(model, kind, count, many)
