"""Run: a corpus through every configuration: index, search, answer, score, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_bench.visdoc.answer_metrics import METRICS, score_answer
from ume_r1_bench.visdoc.answering import Request, ask_with_pages, gold_pages, judge
from ume_r1_bench.visdoc.configuration import Configuration
from ume_r1_bench.visdoc.corpus import Corpus, Question, VisdocError, check_questions
from ume_r1_bench.visdoc.decision import MARGIN, Decision, decide
from ume_r1_bench.visdoc.encoders import Encoders
from ume_r1_bench.visdoc.filling import Cost, fill
from ume_r1_bench.visdoc.found import MEASURES, measure_documents, measure_pages
from ume_r1_bench.visdoc.outcome import Bound, Outcome, Prices, Spent, Values
from ume_r1_bench.visdoc.pages import PIXELS, Pages
from ume_r1_bench.visdoc.report import Report
from ume_r1_bench.visdoc.searching import Found, Ranking, Searcher
from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.retriever import Retriever

if TYPE_CHECKING:
    from ume_r1_trainer.endpoint import Answer, ChatEndpoint

JUDGED = "judge"
BOUNDS = ("gold", "none")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        configs: names of configurations; all that the model is able to if none are given.
        top: pages that a model answers from.
        judge: whether a model judges the answers, too.
        decide_by: a measure of pages or a metric of answers; by default ``anls`` if there are answers, else
            ``ndcg@5``.
        margin: how far below the best is still good enough.
        queries_per_page: how often a page is asked about in its life, for what is cheapest.
        prices: what things cost.
        pixels: most pixels of a rendered page that a model answers from.
        seed: of the bootstrap.
        progress: whether to show bars.
    """

    configs: Sequence[str] = ()
    top: int = 3
    judge: bool = False
    decide_by: str | None = None
    margin: float = MARGIN
    queries_per_page: float = 1.0
    prices: Prices = field(default_factory=Prices)
    pixels: int = PIXELS
    seed: int = 0
    progress: bool = False


def run_visdoc(
    corpus: Corpus, work: Path, encoders: Encoders, endpoint: ChatEndpoint | None, options: Options
) -> Report:
    """Returns what every configuration achieved on a corpus.

    Args:
        corpus: pages and questions.
        work: a folder for indexes, rankings and rendered pages: a run that was stopped goes on from there.
        encoders: the models.
        endpoint: the model that answers; None to measure retrieval alone.
        options: how.

    Raises:
        ConfigError: an option cannot work.
        ServerUnavailable: the model that is to answer does not.
        VisdocError: there is nothing to ask, or to decide by.
    """
    check_questions(corpus.questions, corpus.name, corpus.failures)
    if endpoint is not None:
        endpoint.check()
    chosen = encoders.able(list(options.configs))
    work.mkdir(parents=True, exist_ok=True)
    outcomes, rankings = [], {}
    for configuration in chosen:
        outcome, found = _retrieve(configuration, corpus, work, encoders, options)
        outcomes.append(outcome)
        rankings[configuration.name] = found.rankings
    bounds: list[Bound] = []
    answerable = [one for one in corpus.questions if one.answers]
    failures: list[str] = []
    answered: list[Question] = []
    if endpoint is not None and answerable:
        answering = _Answering(
            corpus, answerable, endpoint, Pages(corpus, work / "pages", options.pixels), options
        )
        outcomes, bounds = answering.run(outcomes, rankings)
        failures, answered = answering.failures, answering.kept
    by = options.decide_by or ("anls" if answered else "ndcg@5")
    decision = _decide(by, outcomes, options)
    return Report(
        corpus=corpus,
        model=getattr(encoders.main, "model", "") if _needs_model(chosen) else "none",
        fingerprint=dict(encoders.main.fingerprint) if _needs_model(chosen) else {},
        answerer=endpoint.model if endpoint is not None and answered else None,
        top=options.top,
        seed=options.seed,
        prices=options.prices,
        queries_per_page=options.queries_per_page,
        outcomes=tuple(outcomes),
        bounds=tuple(bounds),
        answered=len(answered),
        decision=decision,
        failures=(*corpus.failures, *dict.fromkeys(f for one in outcomes for f in one.failures), *failures),
    )


def _needs_model(chosen: Sequence[Configuration]) -> bool:
    return any(one.which in ("main", "unthinking") for one in chosen)


def _retrieve(
    configuration: Configuration, corpus: Corpus, work: Path, encoders: Encoders, options: Options
) -> tuple[Outcome, Found]:
    from ume_r1_rag.index import QdrantIndex

    encoder = encoders.of(configuration)
    print_ = dict(encoder.fingerprint)
    folder = work / "indexes" / f"{configuration.index}-{digest(print_)[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    with QdrantIndex(folder / "index", fingerprint=print_) as index:
        cost, failures = fill(
            index, encoder, corpus, configuration.written, folder, progress=options.progress
        )
        reader = None if configuration.mode == "text" else encoder
        mark = digest({"encoder": digest(print_), "corpus": corpus.digest, "points": index.count()})
        kept = folder / f"{configuration.mode}.jsonl"
        searcher = Searcher(configuration, Retriever(reader, index), corpus, kept, mark)
        found = searcher.search(options.progress)
    return _outcome(configuration, corpus, found, cost, failures), found


def _outcome(
    configuration: Configuration, corpus: Corpus, found: Found, cost: Cost, failures: list[str]
) -> Outcome:
    documents = corpus.documents
    of = [(one, found.rankings[one.id]) for one in corpus.questions]
    by_page = [measure_pages(one, ranking) for one, ranking in of]
    by_document = [measure_documents(one, ranking, documents) for one, ranking in of]
    wrong = [f"{one.id!r} could not be searched for: {r.error}" for one, r in of if r.error is not None]
    return Outcome(
        configuration.name,
        configuration.told,
        pages={name: [one[name] for one in by_page] for name in MEASURES},
        documents={name: [one[name] for one in by_document] for name in MEASURES}
        if corpus.has_documents
        else {},
        first={one.id: _first(one, ranking) for one, ranking in of},
        spent=Spent(cost.per_1000, found.per_1000, waits=found.waits),
        failures=[*failures, *wrong],
    )


def _first(question: Question, ranking: Ranking) -> int | None:
    ranks = (rank for rank, page in enumerate(ranking.pages, 1) if page in question.pages)
    return next(ranks, None)


class _Answering:
    """Asks a model for every condition, on the same questions.

    Attributes:
        failures: what went wrong.
        kept: the questions that were answered under every condition; all figures are of those.
    """

    def __init__(
        self,
        corpus: Corpus,
        questions: Sequence[Question],
        endpoint: ChatEndpoint,
        pages: Pages,
        options: Options,
    ) -> None:
        self._questions, self._endpoint, self._options = questions, endpoint, options
        self._pages = pages
        self.failures: list[str] = []
        self.kept: list[Question] = []
        if options.top < 1:
            raise VisdocError(f"top={options.top}: let the model answer from at least one page")

    def run(
        self, outcomes: Sequence[Outcome], rankings: Mapping[str, Mapping[str, Ranking]]
    ) -> tuple[list[Outcome], list[Bound]]:
        """Returns the outcomes with their answers, and the bounds."""
        asked = {
            outcome.name: [
                Request(one.id, rankings[outcome.name][one.id].pages[: self._options.top])
                for one in self._questions
            ]
            for outcome in outcomes
        }
        asked["gold"] = [Request(one.id, gold_pages(one)) for one in self._questions]
        asked["none"] = [Request(one.id, ()) for one in self._questions]
        by_id = {one.id: one for one in self._questions}
        every = [request for requests in asked.values() for request in requests]
        answers, wrong = ask_with_pages(
            self._endpoint, every, by_id, self._pages, progress=self._options.progress
        )
        self.failures += [f"{request.question!r} was not answered: {why}" for request, why in wrong.items()]
        lost = {request.question for request in wrong}
        self.kept = [one for one in self._questions if one.id not in lost]
        given = {
            name: {r.question: answers[r] for r in requests if r.question not in lost}
            for name, requests in asked.items()
        }
        scored = self._score({name: {q: a.text for q, a in of.items()} for name, of in given.items()})
        return [
            replace(
                outcome,
                answers=scored[outcome.name],
                given={q: a.text for q, a in given[outcome.name].items()},
                spent=_with_answers(outcome.spent, list(given[outcome.name].values())),
            )
            for outcome in outcomes
        ], [Bound(name, scored[name], {q: a.text for q, a in given[name].items()}) for name in BOUNDS]

    def _score(self, given: Mapping[str, Mapping[str, str]]) -> dict[str, Values]:
        scores = {
            name: [score_answer(of[one.id], one.answers) for one in self.kept] for name, of in given.items()
        }
        tables: dict[str, dict[str, list[float]]] = {
            name: {metric: [one[metric] for one in rows] for metric in METRICS}
            for name, rows in scores.items()
        }
        if self._options.judge and self.kept:
            pairs = [(one, of[one.id]) for of in given.values() for one in self.kept]
            verdicts, wrong = judge(self._endpoint, pairs, progress=self._options.progress)
            self.failures += wrong
            for name, of in given.items():
                # What was not judged counts as wrong, under every condition alike.
                tables[name][JUDGED] = [verdicts.get((one.id, of[one.id]), 0.0) for one in self.kept]
        return dict(tables)


def _with_answers(spent: Spent, answers: Sequence[Answer]) -> Spent:
    count = len(answers)
    if not count:
        return spent
    return replace(
        spent,
        prompt_tokens=1000 * sum(one.prompt_tokens for one in answers) / count,
        completion_tokens=1000 * sum(one.completion_tokens for one in answers) / count,
        answer_waits=[one.seconds for one in answers if not one.cached],
    )


def _decide(by: str, outcomes: Sequence[Outcome], options: Options) -> Decision:
    """Returns the decision.

    Raises:
        VisdocError: there is no such figure.
    """
    known = [*outcomes[0].pages, *outcomes[0].answers]
    if by not in known:
        raise VisdocError(f"there is no figure {by!r} to decide by: use one of {', '.join(known)}")
    values = {one.name: one.pages.get(by) or one.answers[by] for one in outcomes}
    costs = {one.name: one.spent.total(options.prices, options.queries_per_page) for one in outcomes}
    return decide(values, costs, by, options.margin, options.seed)
