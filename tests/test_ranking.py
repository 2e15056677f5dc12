"""Measures of a ranked list: against pytrec_eval, against scikit-learn, and over all orders of the tied."""

import itertools

import numpy as np
import pytest
import pytrec_eval
from sklearn.metrics import ndcg_score

from ume_r1_bench.official_ranking import official_measure, official_order
from ume_r1_bench.ranking import MEASURES, measure
from ume_r1_rag.errors import ConfigError

RUNS = 40


def drawn(seed, tied=False, candidates=None):
    """Scores and grades (0 to 3) of a random run with at least one relevant candidate."""
    rng = np.random.default_rng(seed)
    size = candidates or int(rng.integers(2, 40))
    scores = rng.integers(0, 4, size) / 4 if tied else rng.permutation(size) / size
    grades = rng.integers(0, 4, size) * (rng.random(size) < 0.4)
    grades[rng.integers(size)] = 2
    return scores.astype(float), grades.astype(float)


def by_pytrec(order, grades):
    """All of ``MEASURES`` of one strict order, by pytrec_eval, whose ties cannot occur here."""
    size = len(order)
    run = {"q": {str(one): float(size - rank) for rank, one in enumerate(order)}}

    def ask(gains, *names):
        qrel = {"q": {str(at): int(gain) for at, gain in enumerate(gains)}}
        return pytrec_eval.RelevanceEvaluator(qrel, set(names)).evaluate(run)["q"]

    plain = ask(grades, "success.1,5,10", "recall.1,5,10", "P.1,5,10", "map_cut.1,5,10", "ndcg_cut.1,5,10")
    steep = ask(2**grades - 1, "ndcg_cut.1,5,10")
    reciprocal = ask(grades, "recip_rank")["recip_rank"]
    relevant = int((grades > 0).sum())
    out = {}
    for k in (1, 5, 10):
        precision, recall = plain[f"P_{k}"], plain[f"recall_{k}"]
        out |= {
            f"hit@{k}": plain[f"success_{k}"],
            f"recall@{k}": recall,
            f"precision@{k}": precision,
            f"f1@{k}": 2 * precision * recall / (precision + recall) if precision else 0.0,
            f"map@{k}": plain[f"map_cut_{k}"] * relevant / min(relevant, k),
            f"mrr@{k}": reciprocal if reciprocal >= 1 / k - 1e-9 else 0.0,
            f"ndcg_linear@{k}": plain[f"ndcg_cut_{k}"],
            f"ndcg_exponential@{k}": steep[f"ndcg_cut_{k}"],
        }
    return out


@pytest.mark.parametrize("seed", range(RUNS))
def test_without_ties_all_measures_are_pytrec_evals(seed):
    scores, grades = drawn(seed)
    expected = by_pytrec(np.argsort(-scores), grades)
    assert measure(scores, grades, MEASURES) == pytest.approx(expected, abs=1e-6)
    assert set(expected) == set(MEASURES)


@pytest.mark.parametrize("seed", range(8))
def test_with_ties_each_is_the_mean_over_all_orders_of_the_tied(seed):
    scores, grades = drawn(seed, tied=True, candidates=6)
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[one] >= scores[other] for one, other in itertools.pairwise(order))
    ]
    assert len(orders) > 1
    all_found = [by_pytrec(order, grades) for order in orders]
    expected = {name: np.mean([found[name] for found in all_found]) for name in MEASURES}
    assert measure(scores, grades, MEASURES) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(RUNS))
def test_with_ties_ndcg_is_scikit_learns(seed):
    scores, grades = drawn(seed, tied=True)
    for k in (1, 5, 10):
        found = measure(scores, grades, [f"ndcg_linear@{k}", f"ndcg_exponential@{k}"])
        assert found[f"ndcg_linear@{k}"] == pytest.approx(ndcg_score([grades], [scores], k=k))
        assert found[f"ndcg_exponential@{k}"] == pytest.approx(ndcg_score([2**grades - 1], [scores], k=k))


def test_a_constant_embedding_scores_chance_wherever_the_gold_stands():
    for gold in range(7):
        found = measure(np.ones(7), np.eye(7)[gold], ["hit@1", "hit@5", "mrr@10"])
        expected = {"hit@1": 1 / 7, "hit@5": 5 / 7, "mrr@10": np.mean([1 / r for r in range(1, 8)])}
        assert found == pytest.approx(expected)


def test_the_order_of_the_candidates_changes_nothing():
    scores, grades = drawn(3, tied=True)
    expected = measure(scores, grades, MEASURES)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(len(scores))
        assert measure(scores[mixed], grades[mixed], MEASURES) == pytest.approx(expected)


def test_what_was_not_ranked_counts_and_is_never_found():
    found = measure([0.5, -np.inf], [0, 1], ["hit@10", "recall@10", "mrr@10"])
    assert found == {"hit@10": 0, "recall@10": 0, "mrr@10": 0}
    assert measure([0.5, -np.inf], [1, 1], ["recall@5"]) == {"recall@5": 0.5}
    assert measure([0.5, 0.1], [0, 0], ["hit@1", "recall@1"]) == {"hit@1": 0, "recall@1": 0}


@pytest.mark.parametrize("name", ["hit", "hit@0", "ndcg@5", "hit@-1", "hit@1.5", "@5"])
def test_an_unknown_measure_is_refused(name):
    with pytest.raises(ConfigError, match="no measure"):
        measure([1.0], [1], [name])


@pytest.mark.parametrize(
    ("scores", "grades"), [([1, 2], [1]), ([np.nan, 1], [1, 0]), ([1, 2], [1, -1]), ([[1]], [[1]])]
)
def test_what_cannot_be_measured_is_refused(scores, grades):
    with pytest.raises(ConfigError):
        measure(scores, grades, ["hit@1"])


# ---- the official evaluator's


@pytest.mark.parametrize("seed", range(RUNS))
def test_official_measures_are_ours_without_ties_and_with_one_grade(seed):
    scores, grades = drawn(seed)
    relevant = (grades > 0).astype(float)
    names = [f"doc{at}" for at in range(len(scores))]
    labels = [name for name, one in zip(names, relevant, strict=True) if one]
    ranked = [names[at] for at in official_order(scores)]
    for graded in (None, [1.0] * len(labels)):
        found = official_measure(ranked, labels, graded, MEASURES, seed)
        assert found == pytest.approx(measure(scores, relevant, MEASURES))


def test_the_official_defect_puts_grades_on_other_documents():
    """The example of the report: a perfect ranking of grades 3, 2, 1 scores 1.0 in some hash seeds only."""
    ranked, labels, grades = ["a", "b", "c"], ["a", "b", "c"], [3, 2, 1]
    ours = measure([3, 2, 1], grades, ["ndcg_linear@5"])["ndcg_linear@5"]
    found = {
        seed: official_measure(ranked, labels, grades, ["ndcg_linear@5"], seed)["ndcg_linear@5"]
        for seed in range(20)
    }
    assert ours == 1.0
    assert {round(value, 3) for value in found.values()} >= {0.868, 1.0, 0.79}
    again = official_measure(ranked, labels, grades, ["ndcg_linear@5"], 7)["ndcg_linear@5"]
    assert again == found[7]


def test_official_measures_refuse_a_label_that_is_graded_twice():
    with pytest.raises(ConfigError, match="2 grades for 1 different"):
        official_measure(["a"], ["a", "a"], [1, 2], ["hit@1"])
