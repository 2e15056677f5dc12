"""Report: the line that decides, then the figures, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ume_r1_bench.visdoc.corpus import Corpus
from ume_r1_bench.visdoc.decision import Decision, Difference, interval, least_questions, resampled
from ume_r1_bench.visdoc.outcome import Bound, Outcome, Prices, Values, p50_p95
from ume_r1_rag.describe import shorten

Figure = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""

MOST_FAILURES = 50


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Attributes:
        corpus: pages and questions.
        model: the model that was measured.
        fingerprint: what its vectors depend on.
        answerer: the model that answered; None if none did.
        top: pages that it answered from.
        seed: of the bootstrap.
        prices: what things cost.
        queries_per_page: how often a page is asked about.
        outcomes: of every configuration.
        bounds: answers without retrieval.
        answered: questions that were answered under every condition.
        decision: what to take.
        failures: what went wrong.
    """

    corpus: Corpus
    model: str
    fingerprint: Mapping[str, Any]
    answerer: str | None
    top: int
    seed: int
    prices: Prices
    queries_per_page: float
    outcomes: tuple[Outcome, ...]
    bounds: tuple[Bound, ...]
    answered: int
    decision: Decision
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.failures

    @property
    def _answered(self) -> list[Outcome | Bound]:
        return [*self.outcomes, *self.bounds]

    @property
    def line(self) -> str:
        """The line that decides."""
        decision = self.decision
        if decision.chosen is None:
            return self._undecided(str(decision.open))
        chosen = decision.of(decision.chosen)
        if len(decision.candidates) == 1:
            told = (
                f"nothing to decide, as {chosen.name} is the only configuration: {decision.metric} "
                f"{_percent(chosen.mean)}"
            )
        elif chosen.name == decision.best:
            told = (
                f"{chosen.name} is the best by {decision.metric} ({_percent(chosen.mean)}), and no cheaper "
                f"one is within {_points(decision.margin)}"
            )
        else:
            best = decision.of(decision.best)
            told = (
                f"{chosen.name} is the cheapest within {_points(decision.margin)} of the best ({best.name}) "
                f"by {decision.metric}: {_percent(chosen.mean)} against {_percent(best.mean)}"
            )
        against = "" if chosen.against is None else f"; {self._difference(chosen.name, chosen.against)}"
        return f"DECISION: {told}{against}, {decision.questions} questions; {self._cost(chosen.name)}"

    def _undecided(self, name: str) -> str:
        decision = self.decision
        least = least_questions(decision.margin)
        few = f" (to show two to be equal takes {least})" if decision.questions < least else ""
        against = decision.of(name).against
        needed = decision.needed
        count = "No number that is worth naming of" if needed is None else f"About {needed:,}"
        told = "" if against is None else f" {self._difference(name, against)}."
        point = _points(decision.margin)
        if name == decision.best:
            stands = (
                f"{name} is the cheapest and has the best mean, but another may be more than {point} better"
            )
        else:
            stands = f"{name} is the cheapest that may be within {point} of the best ({decision.best})"
        return (
            f"NOT DECIDABLE by {decision.metric} with {decision.questions} questions{few}: {stands}.{told} "
            f"{count} questions would tell these two apart, if the difference stays (80 % power). "
            f"{self._cost(name)}"
        )

    def _difference(self, name: str, against: Difference) -> str:
        return (
            f"{against.name} - {name} = {_signed(against.mean)} points [{_signed(against.low)} "
            f"{_signed(against.high)}]"
        )

    def _cost(self, name: str) -> str:
        spent = next(one.spent for one in self.outcomes if one.name == name)
        pages, queries = spent.pages(self.prices), spent.queries(self.prices)
        return (
            f"{name} costs {_money(pages, self.prices)} per 1,000 pages and {_money(queries, self.prices)} "
            "per 1,000 queries"
        )

    def table(self) -> str:
        """Returns all of it as text."""
        corpus = self.corpus
        documents = f" of {len(set(corpus.documents.values()))} documents" if corpus.has_documents else ""
        asked = "synthetic questions, drafted by a model" if corpus.synthetic else "questions"
        ran = (
            f"{corpus.name}: {len(corpus.documents)} pages{documents}, {len(corpus.questions)} {asked}; "
            f"model {self.model}; 95 % bootstrap intervals, seed {self.seed}"
        )
        lines = [self.line, "", ran]
        if self.model == "nano":
            lines.append("  nano is an instrument: its figures are no evidence for any other model")
        lines += [f"  left out: {count} questions, {why}" for why, count in corpus.left_out.items()]
        lines += ["", *_grid("pages", [(one.name, one.pages) for one in self.outcomes], self.seed)]
        if corpus.has_documents:
            told = [(one.name, one.documents) for one in self.outcomes]
            lines += ["", *_grid("documents", told, self.seed)]
        if self.answered:
            told = [(one.name, one.answers) for one in self._answered]
            head = f"answers of {self.answerer}"
            lines += ["", *_grid(head, told, self.seed)]
            lines.append(
                f"  {self.answered} questions, {self.top} pages each; gold: the right pages; none: no page"
            )
        lines += ["", *self._costs()]
        if self.failures:
            lines += ["", f"{len(self.failures)} things went wrong:"]
            lines += [f"  {shorten(failure, 300)}" for failure in self.failures[:MOST_FAILURES]]
            more = len(self.failures) - MOST_FAILURES
            lines += [f"  … and {more} more"] if more > 0 else []
        return "\n".join(lines)

    def _costs(self) -> list[str]:
        unit = "cost" if self.prices.given else "seconds"
        head = (
            f"{unit:<18}{'1,000 pages':>13}{'1,000 queries':>15}{'search p50 / p95 ms':>22}"
            f"{'answer p50 / p95 s':>21}{'tokens an answer':>18}"
        )
        lines = [head, "-" * len(head)]
        for one in self.outcomes:
            spent = one.spent
            tokens = (
                "-"
                if spent.prompt_tokens is None or spent.completion_tokens is None
                else f"{spent.prompt_tokens / 1000:.0f} + {spent.completion_tokens / 1000:.0f}"
            )
            lines.append(
                f"{shorten(one.name, 18):<18}{_number(spent.pages(self.prices)):>13}"
                f"{_number(spent.queries(self.prices)):>15}{_pair(spent.waits, 1000):>22}"
                f"{_pair(spent.answer_waits, 1):>21}{tokens:>18}"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it as in JSON; texts are as they are: untrusted."""
        corpus, decision = self.corpus, self.decision
        return {
            "line": self.line,
            "decision": {
                "metric": decision.metric,
                "margin": decision.margin,
                "questions": decision.questions,
                "best": decision.best,
                "chosen": decision.chosen,
                "undecided": decision.open,
                "needed": decision.needed,
                "candidates": [
                    {
                        "name": one.name,
                        "figure": [one.mean, one.low, one.high],
                        "cost": one.cost if np.isfinite(one.cost) else None,
                        "verdict": one.verdict,
                        "against": None
                        if one.against is None
                        else {
                            "name": one.against.name,
                            "difference": [one.against.mean, one.against.low, one.against.high],
                            "needed": one.against.needed,
                        },
                    }
                    for one in decision.candidates
                ],
            },
            "corpus": {
                "name": corpus.name,
                "pages": len(corpus.documents),
                "documents": len(set(corpus.documents.values())) if corpus.has_documents else None,
                "questions": len(corpus.questions),
                "answered": self.answered,
                "synthetic": corpus.synthetic,
                "left_out": dict(corpus.left_out),
                "digest": corpus.digest,
            },
            "model": self.model,
            "fingerprint": dict(self.fingerprint),
            "answerer": self.answerer,
            "top": self.top,
            "seed": self.seed,
            "versions": _versions(),
            "prices": {
                "hour": self.prices.hour,
                "prompt": self.prices.prompt,
                "completion": self.prices.completion,
                "queries_per_page": self.queries_per_page,
            },
            "configurations": {one.name: self._outcome(one) for one in self.outcomes},
            "bounds": {one.name: figures(one.answers, self.seed) for one in self.bounds},
            "questions": [self._question(number) for number in range(len(corpus.questions))],
            "failures": list(self.failures),
        }

    def _outcome(self, one: Outcome) -> dict[str, Any]:
        spent = one.spent
        return {
            "told": one.told,
            "pages": figures(one.pages, self.seed),
            "documents": figures(one.documents, self.seed) or None,
            "answers": figures(one.answers, self.seed) or None,
            "index_seconds_per_1000_pages": spent.index_s,
            "search_seconds_per_1000_queries": spent.search_s,
            "cost_per_1000_pages": spent.pages(self.prices),
            "cost_per_1000_queries": spent.queries(self.prices),
            "prompt_tokens_per_1000_answers": spent.prompt_tokens,
            "completion_tokens_per_1000_answers": spent.completion_tokens,
            "search_seconds_p50_p95": p50_p95(spent.waits),
            "answer_seconds_p50_p95": p50_p95(spent.answer_waits),
        }

    def _question(self, number: int) -> dict[str, Any]:
        one = self.corpus.questions[number]
        return {
            "id": one.id,
            "question": one.text,
            "answers": list(one.answers),
            "pages": dict(one.pages),
            "ranks": {outcome.name: outcome.first.get(one.id) for outcome in self.outcomes},
            "ndcg@5": {outcome.name: outcome.pages["ndcg@5"][number] for outcome in self.outcomes},
            "given": {of.name: of.given[one.id] for of in self._answered if one.id in of.given},
        }


def figures(values: Values, seed: int) -> dict[str, Figure]:
    """Returns mean and interval of each metric."""
    if not values or not next(iter(values.values())):
        return {}
    table = np.asarray(list(values.values()), dtype=np.float64)
    drawn = resampled(table, seed)
    return {
        name: (float(row.mean()), *interval(row, means))
        for name, row, means in zip(values, table, drawn, strict=True)
    }


def _grid(head: str, told: Sequence[tuple[str, Values]], seed: int) -> list[str]:
    """Returns a table of figures in points."""
    names = list(told[0][1])
    first = f"{shorten(head, 24):<24}" + "".join(f"{name:>20}" for name in names)
    lines = [first, "-" * len(first)]
    for name, values in told:
        found = figures(values, seed)
        cells = "".join(f"{_interval(found[metric]):>20}" for metric in names)
        lines.append(f"{shorten(name, 24):<24}{cells}")
    return lines


def _versions() -> dict[str, str]:
    found = {}
    for package in ("ume-r1-rag", "torch", "transformers", "qdrant-client", "pypdfium2"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _interval(figure: Figure) -> str:
    mean, low, high = figure
    return f"{100 * mean:.1f} [{100 * max(0.0, low):.1f} {100 * min(1.0, high):.1f}]"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:g} point{'' if value == 0.01 else 's'}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.4f}" if value < 1 else f"{value:,.1f}"


def _money(value: float | None, prices: Prices) -> str:
    return _number(value) if prices.given or value is None else f"{_number(value)} s"


def _pair(seconds: Sequence[float], factor: float) -> str:
    found = p50_p95(seconds)
    return "-" if found is None else f"{found[0] * factor:.1f} / {found[1] * factor:.1f}"
