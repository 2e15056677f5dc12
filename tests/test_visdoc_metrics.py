"""Figures of VisDoc RAG: answers, rankings, and the decision."""

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ume_r1_bench.visdoc.answer_metrics import (
    anls,
    edit_distance,
    exact_match,
    relaxed,
    score_answer,
    token_f1,
)
from ume_r1_bench.visdoc.corpus import Question
from ume_r1_bench.visdoc.decision import decide, least_questions
from ume_r1_bench.visdoc.found import measure_documents, measure_pages
from ume_r1_bench.visdoc.searching import Ranking

WORDS = st.lists(st.sampled_from(["the", "a", "Rent", "rent,", "12", "k4t", "An", "of"]), max_size=6).map(
    " ".join
)


@settings(deadline=None)  # transformers is imported in the first one
@given(WORDS, WORDS)
def test_exact_match_and_f1_are_squads(one, other):
    from transformers.data.metrics import squad_metrics

    assert exact_match(one, other) == squad_metrics.compute_exact(other, one)
    assert token_f1(one, other) == pytest.approx(squad_metrics.compute_f1(other, one))


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edit_distance_is_the_recursion(one, other):
    @cache
    def slow(i, j):
        if not i or not j:
            return i + j
        changed = slow(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(changed, slow(i - 1, j) + 1, slow(i, j - 1) + 1)

    assert edit_distance(one, other) == slow(len(one), len(other))


def test_anls_is_docvqas():
    assert anls("Harbor", "harbor") == 1
    assert anls("harbour", "harbor") == pytest.approx(1 - 1 / 7)
    assert anls("abcd", "abxy") == 0.5
    assert anls("abcd", "axyz") == 0
    assert anls("", "harbor") == 0


@pytest.mark.parametrize(
    ("ours", "right", "score"),
    [
        ("105", "100", 1),
        ("95.0", "100", 1),
        ("106", "100", 0),
        ("5%", "0.05", 1),
        ("12", "12%", 0),
        ("1,050", "1000", 1),
        ("$98", "100", 1),
        ("Harbor", "harbor", 1),
        ("harbour", "harbor", 0),
        ("0", "0", 1),
        ("nan", "nan", 1),
        ("inf", "5", 0),
    ],
)
def test_relaxed_accuracy_is_chartqas(ours, right, score):
    assert relaxed(ours, right) == score


def test_the_best_of_several_right_answers_counts():
    assert score_answer("K4T", ["B7M", "k4t"]) == {"em": 1, "anls": 1, "relaxed": 1, "f1": 1}


def test_a_page_that_was_not_found_is_missed_and_ties_are_fair():
    question = Question("q", "?", (), {"a#page=1": 2.0, "b#page=1": 1.0})
    found = measure_pages(question, Ranking("q", ("x", "a#page=1"), (0.9, 0.8), 0.0))
    assert (found["recall@1"], found["recall@5"], found["mrr@10"]) == (0, 0.5, 0.5)
    tied = measure_pages(question, Ranking("q", ("x", "a#page=1"), (0.9, 0.9), 0.0))
    assert tied["mrr@10"] == pytest.approx(0.75)
    assert set(measure_pages(question, Ranking("q", (), (), 0.0)).values()) == {0.0}


def test_a_document_ranks_by_its_best_page():
    documents = {"a1": "a", "a2": "a", "b1": "b"}
    question = Question("q", "?", (), {"a2": 1.0})
    ranking = Ranking("q", ("a1", "b1", "a2"), (3.0, 2.0, 1.0), 0.0)
    assert measure_pages(question, ranking)["recall@1"] == 0
    assert measure_documents(question, ranking, documents)["recall@1"] == 1


def bits(rng, share, n):
    return [float(rng.random() < share) for _ in range(n)]


def test_the_cheapest_within_the_margin_is_taken():
    rng = random.Random(0)
    base = bits(rng, 0.6, 4000)
    # Better on five of 4,000: within a point.
    best = [1.0 if at < 5 else value for at, value in enumerate(base)]
    poor = bits(rng, 0.4, 4000)
    found = decide({"dear": best, "cheap": base, "poor": poor}, {"dear": 9, "cheap": 2, "poor": 1}, "anls")
    assert (found.best, found.chosen, found.open) == ("dear", "cheap", None)
    assert [one.verdict for one in found.candidates] == ["worse", "within", "within"]
    against = found.of("cheap").against
    assert against.low <= against.mean <= against.high <= 0.01


def test_what_the_questions_cannot_tell_is_not_decided():
    rng = random.Random(0)
    cheap, dear = bits(rng, 0.5, 60), bits(rng, 0.55, 60)
    found = decide({"cheap": cheap, "dear": dear}, {"cheap": 1, "dear": 2}, "anls")
    assert found.chosen is None
    assert found.open == "cheap"
    assert found.needed > 60


def test_identical_rankings_are_decided_from_the_least_number_of_questions_on():
    least = least_questions(0.01)
    assert least == 368
    for n, chosen in ((least - 1, None), (least, "cheap")):
        found = decide({"cheap": [1.0] * n, "dear": [1.0] * n}, {"cheap": 1, "dear": 2}, "em")
        assert found.chosen == chosen
    assert decide({"only": [0.0, 1.0]}, {"only": 1}, "em").chosen == "only"


def test_the_interval_holds_what_it_says():
    """Of 200 samples the interval of a difference misses the truth in about one of twenty."""
    rng = random.Random(1)
    missed = 0
    for _ in range(200):
        one, other = bits(rng, 0.6, 300), bits(rng, 0.5, 300)
        against = decide({"a": other, "b": one}, {"a": 1, "b": 2}, "em").of("a").against
        missed += not against.low <= 0.1 <= against.high
    assert 2 <= missed <= 22


def test_as_many_questions_as_it_says_decide():
    """What is told to be needed decides in most samples, and a quarter of it in few."""
    rng = random.Random(2)

    def sample(n):
        cheap = bits(rng, 0.5, n)
        return cheap, [1.0 if rng.random() < 0.1 else value for value in cheap]

    needed = decide(dict(zip("ab", sample(800), strict=True)), {"a": 1, "b": 2}, "em").of("a").against.needed
    told = []
    for n in (needed, needed // 4):
        tries = [decide(dict(zip("ab", sample(n), strict=True)), {"a": 1, "b": 2}, "em") for _ in range(20)]
        told.append(sum(one.of("a").verdict == "worse" for one in tries))
    assert told[0] >= 12 > told[1]
