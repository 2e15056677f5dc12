"""Outcome: what a configuration achieved on each question, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

Values = Mapping[str, Sequence[float]]
"""Per metric a value of each question, in the questions' order."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost.

    Attributes:
        hour: an hour of this machine.
        prompt: a million prompt tokens.
        completion: a million completion tokens.
    """

    hour: float = 0.0
    prompt: float = 0.0
    completion: float = 0.0

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return bool(self.hour or self.prompt or self.completion)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage takes.

    Attributes:
        index_s: seconds of this machine for 1,000 pages; None if it was not measured.
        search_s: seconds of this machine for 1,000 questions; None if it was not measured.
        prompt_tokens: of 1,000 answers; None if nothing was answered.
        completion_tokens: of 1,000 answers.
        waits: seconds that single searches took.
        answer_waits: seconds that answers took which were not in the cache.
    """

    index_s: float | None = None
    search_s: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    waits: Sequence[float] = ()
    answer_waits: Sequence[float] = ()

    def pages(self, prices: Prices) -> float | None:
        """Returns what 1,000 pages cost: money if there are prices, else seconds."""
        return _priced(self.index_s, prices)

    def queries(self, prices: Prices) -> float | None:
        """Returns what 1,000 questions cost, with their answers' tokens if those have a price."""
        search = _priced(self.search_s, prices)
        if search is None or not prices.given:
            return search
        tokens = (self.prompt_tokens or 0) * prices.prompt + (self.completion_tokens or 0) * prices.completion
        return search + tokens / 1e6

    def total(self, prices: Prices, queries_per_page: float) -> float:
        """Returns what 1,000 pages with their questions cost; infinity if that was not measured."""
        pages, queries = self.pages(prices), self.queries(prices)
        if pages is None or queries is None:
            return float("inf")
        return pages + queries_per_page * queries


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a configuration achieved.

    Attributes:
        name: the configuration's.
        told: what it is.
        pages: measures by page.
        documents: measures by document; empty if it is not known which document a page is of.
        answers: metrics of the answers; empty if nothing was answered.
        given: what was answered, by question.
        first: rank of the first right page, by question; None if none was found.
        spent: what it took.
        failures: what went wrong.
    """

    name: str
    told: str
    pages: Values
    documents: Values
    answers: Values = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, int | None] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    failures: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """Answers without retrieval: from the pages that answer, or from none.

    Attributes:
        name: ``gold`` or ``none``.
        answers: metrics of the answers.
        given: what was answered, by question.
    """

    name: str
    answers: Values
    given: Mapping[str, str]


def p50_p95(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Returns median and 95th percentile, or None if there are fewer than two."""
    if len(seconds) < 2:
        return None
    cuts = quantiles(seconds, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _priced(seconds: float | None, prices: Prices) -> float | None:
    return seconds if seconds is None or not prices.given else seconds * prices.hour / 3600
