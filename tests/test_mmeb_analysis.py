"""Oracle, nulls, pass@k and fusion: against other ways to compute them, and blind to the answer."""

import itertools
from math import comb

import numpy as np
import pytest

from ume_r1_bench.mmeb.analysis import Measured, best_of_pairs, curve, findings, mean_over_tasks, pass_at_k
from ume_r1_bench.mmeb.combined import COMBINED, convex, reciprocal_ranks, surer
from ume_r1_bench.ranking import measure


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_pass_at_k_is_chens_estimator(count):
    hits = np.random.default_rng(count).integers(0, 2, (count, 50)).astype(float)
    correct = hits.sum(axis=0)
    for k in range(1, count + 1):
        expected = [1 - comb(count - int(c), k) / comb(count, k) for c in correct]
        assert pass_at_k(hits)[k - 1] == pytest.approx(expected)


def test_pass_at_k_of_shared_ties_is_the_mean_over_all_choices_of_samples():
    chances = np.random.default_rng(0).random((5, 7))
    for k in range(1, 6):
        choices = [1 - np.prod(1 - chances[list(c)], axis=0) for c in itertools.combinations(range(5), k)]
        assert pass_at_k(chances)[k - 1] == pytest.approx(np.mean(choices, axis=0))


def test_pass_at_k_never_falls():
    found = pass_at_k(np.random.default_rng(1).random((6, 40)))
    assert (np.diff(found, axis=0) >= -1e-12).all()


def test_best_of_pairs_is_the_mean_over_all_pairs():
    samples = np.random.default_rng(2).random((5, 9))
    pairs = [np.maximum(samples[a], samples[b]) for a, b in itertools.combinations(range(5), 2)]
    assert best_of_pairs(samples) == pytest.approx(np.mean(pairs, axis=0))


def noise(seed, queries=200, candidates=8, samples=4):
    """One task of random scores, its gold at random places: every way at chance, 1 in ``candidates``."""
    rng = np.random.default_rng(seed)
    golds = np.eye(candidates)[rng.integers(0, candidates, queries)]

    def hits(scores):
        rows = zip(scores, golds, strict=True)
        return np.array([measure(row, gold, ["hit@1"])["hit@1"] for row, gold in rows])

    disc, gen = rng.standard_normal((2, queries, candidates)).astype(np.float32)
    values = {"disc": hits(disc), "gen": hits(gen)}
    for name, how in COMBINED.items():
        values[name] = hits([how(one, other) for one, other in zip(disc, gen, strict=True)])
    drawn = [hits(rng.standard_normal((queries, candidates))) for _ in range(samples)]
    return Measured(values, np.array(drawn))


def test_on_noise_nothing_beats_chance_but_the_oracle_and_its_null_eats_that():
    """Gold at random places: had a way seen it, or been helped by its place, it would rise above chance."""
    found = {one.name: one for one in findings([noise(seed) for seed in range(10)])}
    for name in ("disc", "gen", *COMBINED):
        assert found[name].low < 12.5 < found[name].high, name
    better = max(("gen", "disc"), key=lambda name: found[name].value)
    assert found[f"oracle - {better}"].low > 5
    assert found["null, samples"].low > 5
    assert found["gap above null"].low < 0 < found["gap above null"].high


def test_no_selection_beats_the_oracle_query_by_query():
    one = noise(3)
    oracle = np.maximum(one.values["disc"], one.values["gen"])
    assert (one.values["surer"] <= oracle + 1e-12).all()
    assert (oracle >= one.values["disc"]).all()
    figures = {f.name: f.value for f in findings([one])}
    assert figures["surer"] <= figures["oracle"]
    assert figures["oracle"] >= max(figures["disc"], figures["gen"])


@pytest.mark.parametrize("how", COMBINED.values())
def test_a_combination_goes_by_scores_alone_wherever_a_candidate_stands(how):
    rng = np.random.default_rng(5)
    disc, gen = rng.choice([0.1, 0.2, 0.3, 0.4], (2, 12)).astype(np.float32)
    mixed = rng.permutation(12)
    assert how(disc[mixed], gen[mixed]) == pytest.approx(how(disc, gen)[mixed])


@pytest.mark.parametrize("how", [convex, reciprocal_ranks])
def test_candidates_that_are_alike_in_both_stay_tied(how):
    disc, gen = np.float32([0.3, 0.9, 0.3, 0.1]), np.float32([0.5, 0.2, 0.5, 0.4])
    found = how(disc, gen)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


@pytest.mark.parametrize("how", COMBINED.values())
def test_what_was_not_ranked_stays_last(how):
    disc, gen = np.float32([0.3, -np.inf, 0.2]), np.float32([0.1, -np.inf, 0.4])
    assert np.isneginf(how(disc, gen)[1])
    assert np.isfinite(how(disc, gen)[[0, 2]]).all()


def test_surer_takes_whichever_leads_by_more():
    close, clear = np.float32([0.50, 0.49, 0.1]), np.float32([0.1, 0.2, 0.9])
    assert np.argmax(surer(close, clear)) == np.argmax(surer(clear, close)) == 2


def test_tasks_count_the_same_whatever_their_size():
    value, low, high = mean_over_tasks([np.zeros(1000), np.ones(10)])
    assert value == 50
    assert (low, high) == (50, 50)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        _, low, high = mean_over_tasks([(rng.random(60) < p).astype(float) for p in (0.3, 0.6)], seed)
        inside += low <= 45 <= high
    assert inside >= 88


def test_figures_are_there_only_for_what_was_measured():
    only = findings([Measured({"disc": np.array([0.0, 1.0])})])
    assert [one.name for one in only] == ["disc"]
    assert curve([Measured({"disc": np.array([0.0, 1.0])})]) == []
    assert [one.name for one in curve([noise(0, queries=20)])] == ["pass@1", "pass@2", "pass@3", "pass@4"]


@pytest.mark.parametrize("better", ["disc", "gen"])
def test_the_oracles_gain_is_over_the_better_one(better):
    """Were it over the worse one, what the other is better by would count as what choosing is worth."""
    worse = "gen" if better == "disc" else "disc"
    half = np.tile([0.0, 1.0], 20)
    one = Measured({better: np.ones(40), worse: half}, np.tile(half, (2, 1)))
    found = {figure.name: figure.value for figure in findings([one])}
    assert found[f"oracle - {better}"] == 0
    assert found["null, samples"] == 0
    assert found["gap above null"] == 0
