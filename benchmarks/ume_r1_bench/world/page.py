"""What a page says: a heading, three key-value lines and a bar chart that has nothing to do with them.

A page has eight rows. Some of them are a thing of their own too: reading is learned from parts of pages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from ume_r1_bench.world.split import split_of

HEADS: Final = (
    "harbor",
    "bridge",
    "river",
    "forest",
    "garden",
    "market",
    "museum",
    "winter",
    "summer",
    "island",
    "valley",
    "castle",
    "copper",
    "silver",
    "cotton",
    "timber",
    "canal",
    "tunnel",
    "airport",
    "station",
    "factory",
    "village",
    "orchard",
    "meadow",
)
KINDS: Final = ("report", "ledger", "survey", "notice", "permit", "order", "plan", "log")
KEYS: Final = ("rent", "tax", "load", "crew", "fuel", "tide", "mass", "gate", "seal", "unit", "zone", "cost")
LETTERS: Final = "ABCDEFHKLMNPRTUVWXYZ"
DIGITS: Final = "23456789"
BARS: Final = ("n", "s", "e", "w", "k", "t", "x", "b")
LENGTHS: Final = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Heading:
    """The first row."""

    words: str

    @property
    def key(self) -> str:
        """The canonical wording."""
        return self.words


@dataclass(frozen=True, slots=True)
class Line:
    """A row with a key and its value."""

    name: str
    value: str

    @property
    def key(self) -> str:
        """The canonical wording."""
        return f"{self.name} {self.value}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the chart."""

    label: str
    length: int

    @property
    def key(self) -> str:
        """``"n3"``."""
        return f"{self.label}{self.length}"


Row = Heading | Line | Bar


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring rows of a page."""

    rows: tuple[Row, ...]

    @property
    def key(self) -> str:
        """What it says, worded as of a page: ``"rent U5D; chart n3 s5"``."""
        texts = [row.key for row in self.rows if not isinstance(row, Bar)]
        bars = [row.key for row in self.rows if isinstance(row, Bar)]
        return "; ".join([*texts, " ".join(["chart", *bars])] if bars else texts)


@dataclass(frozen=True, slots=True)
class Chart:
    """Four labelled bars of different lengths."""

    bars: tuple[Bar, ...]

    @property
    def key(self) -> str:
        """``"n3 s5 e2 w1"``."""
        return " ".join(bar.key for bar in self.bars)

    @property
    def longest(self) -> str:
        """The label of the longest bar."""
        return max(self.bars, key=lambda bar: bar.length).label


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        heading: two words.
        lines: three ``(key, value)``.
        chart: the bars below.
    """

    heading: str
    lines: tuple[tuple[str, str], ...]
    chart: Chart

    @property
    def phrases(self) -> list[str]:
        """Heading and lines, as they stand."""
        return [self.heading, *(f"{key} {value}" for key, value in self.lines)]

    @property
    def rows(self) -> list[Row]:
        """The rows, from the top."""
        return [Heading(self.heading), *(Line(*line) for line in self.lines), *self.chart.bars]

    @property
    def key(self) -> str:
        """The canonical wording with the chart."""
        return ", ".join([*self.phrases, f"chart {self.chart.key}"])

    def value(self, key: str) -> str:
        """Returns what stands beside a key."""
        return dict(self.lines)[key]


@lru_cache(maxsize=4)
def values_of(split: str) -> tuple[str, ...]:
    """Returns the values that pages of a split may show, by the values' own hashes."""
    every = (f"{first}{digit}{last}" for first in LETTERS for digit in DIGITS for last in LETTERS)
    return tuple(value for value in every if split_of("value", value) == split)


def sample_chart(rng: random.Random, split: str, longest: str | None = None) -> Chart:
    """Returns a chart of a split, if need be one whose longest bar has a given label."""
    while True:
        labels, lengths = rng.sample(BARS, 4), rng.sample(LENGTHS, 4)
        if longest is not None:
            others = [label for label in BARS if label != longest]
            labels = rng.sample(others, 4)
            labels[lengths.index(max(lengths))] = longest
        chart = Chart(tuple(Bar(*bar) for bar in zip(labels, lengths, strict=True)))
        if split_of("chart", chart.key) == split:
            return chart


def sample_heading(rng: random.Random, but: Sequence[str] = ()) -> str:
    """Returns a heading that is none of ``but``."""
    while (heading := f"{rng.choice(HEADS)} {rng.choice(KINDS)}") in but:
        pass
    return heading


def sample_page(rng: random.Random, split: str, longest: str | None = None) -> Page:
    """Returns a page of a split."""
    lines = zip(rng.sample(KEYS, 3), rng.sample(values_of(split), 3), strict=True)
    return Page(sample_heading(rng), tuple(lines), sample_chart(rng, split, longest))


def with_value(page: Page, key: str, value: str) -> Page:
    """Returns the page with another value beside ``key``."""
    return replace(page, lines=tuple((k, value if k == key else v) for k, v in page.lines))


@dataclass(frozen=True, slots=True)
class PageGroup:
    """Pages whose text differs in the value of one key; their charts are drawn independently."""

    pages: tuple[Page, ...]
    key: str


def sample_page_group(rng: random.Random, split: str, size: int = 4) -> PageGroup:
    """Returns ``size`` pages whose text differs in one value and whose longest bars all differ."""
    base = sample_page(rng, split)
    key = rng.choice(base.lines)[0]
    taken = {value for _, value in base.lines}
    values = rng.sample([value for value in values_of(split) if value not in taken], size)
    pages = [
        replace(with_value(base, key, value), chart=sample_chart(rng, split, label))
        for value, label in zip(values, rng.sample(BARS, size), strict=True)
    ]
    return PageGroup(tuple(pages), key)
