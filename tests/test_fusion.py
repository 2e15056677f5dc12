"""Fusion, against loops written straight from the formulas, and DBSF against Qdrant's own."""

import math
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.hybrid.fusion import distribution_based_score_fusion

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.retriever import convex, default_weights, distribution_based, equate, reciprocal_rank
from ume_r1_rag.retriever.equating import ENOUGH

ALL = (convex, reciprocal_rank, distribution_based)
IDS = st.sampled_from([f"id{number}" for number in range(8)])
SPACES = ("disc", "gen", "text")
LEAST = {"disc": -1, "gen": -1, "text": 0}
# Few distinct values, so that ties are common.
COSINES = st.sampled_from([-1.0, -0.5, 0.0, 0.1, 0.25, 0.7, 1.0])
VALUES = {"disc": COSINES, "gen": COSINES, "text": st.sampled_from([0.0, 0.5, 3.0, 11.0])}
SCORES = st.fixed_dictionaries({space: st.dictionaries(IDS, VALUES[space]) for space in SPACES})
WEIGHTS = st.fixed_dictionaries({space: st.sampled_from([0.0, 0.3, 1.0, 2.0]) for space in SPACES}).filter(
    lambda weights: any(weights.values())
)


def union(scores, weights):
    return {id for space in SPACES if weights[space] for id in scores[space]}


def judged(sums, scores, weights):
    """Sums scaled up to what an id would have if all spaces scored it; silent spaces left out."""
    telling = [space for space in SPACES if any(s > LEAST[space] for s in scores[space].values())]
    whole = sum(weights[space] for space in telling)
    own = {id: sum(weights[space] for space in telling if id in scores[space]) for id in sums}
    return {id: total * whole / own[id] if own[id] else 0.0 for id, total in sums.items()}


@given(SCORES, WEIGHTS)
def test_convex_equals_the_direct_loop(scores, weights):
    fused = convex(scores, weights)
    expected = {}
    for id in union(scores, weights):
        above = total = 0.0
        for space in SPACES:
            most = max(scores[space].values(), default=LEAST[space])
            if id in scores[space] and most > LEAST[space]:
                share = (scores[space][id] - LEAST[space]) / (most - LEAST[space])
                above, total = above + weights[space] * share, total + weights[space]
        expected[id] = above / total if total else 0.0
    assert fused == pytest.approx(expected, abs=1e-12)
    assert all(0 <= score <= 1 + 1e-12 for score in fused.values())
    assert_ordered(fused)


@given(SCORES, WEIGHTS, st.integers(0, 60))
def test_rrf_equals_the_direct_loop(scores, weights, k):
    fused = reciprocal_rank(scores, weights, k)
    expected = dict.fromkeys(union(scores, weights), 0.0)
    for space in SPACES:
        order = sorted((-score, id) for id, score in scores[space].items() if score > LEAST[space])
        for position, (_, id) in enumerate(order):
            if weights[space]:
                expected[id] += weights[space] / (k + position + 1)
    assert fused == pytest.approx(judged(expected, scores, weights), abs=1e-12)
    assert_ordered(fused)


@given(SCORES, WEIGHTS)
def test_dbsf_equals_the_direct_loop(scores, weights):
    fused = distribution_based(scores, weights)
    expected = dict.fromkeys(union(scores, weights), 0.0)
    for space in SPACES:
        above = {id: score for id, score in scores[space].items() if score > LEAST[space]}
        for id, score in above.items() if weights[space] else ():
            sigma = statistics.stdev(above.values()) if len(above) > 1 else 0
            low = statistics.mean(above.values()) - 3 * sigma
            share = max(0, (score - low) / (6 * sigma)) if sigma > 1e-12 else 0.5
            expected[id] += weights[space] * share
    assert fused == pytest.approx(judged(expected, scores, weights), abs=1e-9)
    assert_ordered(fused)


UNEQUAL = st.floats(-0.9, 0.9).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(UNEQUAL, UNEQUAL), min_size=1, max_size=12, unique_by=lambda pair: pair[0]))
def test_dbsf_is_qdrants_where_every_space_found_the_same(pairs):
    assume(len(pairs) == 1 or statistics.stdev(gen for _, gen in pairs) > 1e-6)
    scores = {
        space: {f"id{number:02}": pair[at] for number, pair in enumerate(pairs)}
        for at, space in enumerate(("disc", "gen"))
    }
    lists = [
        [models.ScoredPoint(id=id, version=0, score=score) for id, score in found.items()]
        for found in scores.values()
    ]
    theirs = {point.id: point.score for point in distribution_based_score_fusion(lists, 100)}
    assert distribution_based(scores) == pytest.approx(theirs)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_rrf_is_that_of_cormack_where_every_space_scores_all(one, other):
    scores = {
        space: {f"id{at}": -rank / 10 for rank, at in enumerate(order)}
        for space, order in (("disc", one), ("gen", other))
    }
    expected = {f"id{at}": 1 / (61 + one.index(at)) + 1 / (61 + other.index(at)) for at in range(6)}
    assert reciprocal_rank(scores) == pytest.approx(expected)


@pytest.mark.parametrize("fuse", ALL)
@given(scores=SCORES, by=st.sampled_from([0.1, 3.0]))
def test_only_the_ratio_of_the_weights_orders(fuse, scores, by):
    weights = {"disc": 1.0, "gen": 2.0, "text": 0.5}
    one, other = fuse(scores, weights), fuse(scores, {space: by * w for space, w in weights.items()})
    scale = 1 if fuse is convex else by
    assert {id: scale * score for id, score in one.items()} == pytest.approx(other)


@pytest.mark.parametrize("fuse", ALL)
@given(scores=SCORES)
def test_the_order_of_spaces_and_ids_changes_nothing(fuse, scores):
    turned = {space: dict(reversed(scores[space].items())) for space in reversed(SPACES)}
    assert list(fuse(scores).items()) == list(fuse(turned).items())


@pytest.mark.parametrize("fuse", ALL)
def test_the_scale_of_words_is_of_no_account(fuse):
    cosines = {"a": 0.4, "b": 0.6, "c": 0.5}
    small, large = ({"disc": cosines, "text": {"a": 2 * x, "b": 0.0, "c": x}} for x in (1.0, 500.0))
    assert fuse(small) == pytest.approx(fuse(large))


@pytest.mark.parametrize("fuse", ALL)
def test_a_document_without_gen_is_judged_by_disc_alone_and_stays_in_front(fuse):
    gen = {f"id{number}": 0.5 - number / 100 for number in range(20)}
    disc = {"lacking": 0.9, **{id: score - 0.2 for id, score in gen.items()}}
    fused = fuse({"disc": disc, "gen": gen}, {"disc": 1, "gen": 3})
    assert next(iter(fused)) == "lacking"
    assert len(fused) == 21


@pytest.mark.parametrize("fuse", ALL)
def test_no_shared_word_is_a_bad_score_and_not_a_missing_one(fuse):
    text = {"a": 5.0, "b": 4.0, "c": 0.0}
    fused = fuse({"disc": dict.fromkeys(text, 0.5), "text": text})
    assert list(fused) == ["a", "b", "c"]
    assert fused["c"] < fuse({"disc": dict.fromkeys(text, 0.5)})["c"] + 0.01


@pytest.mark.parametrize("fuse", ALL)
def test_words_that_nothing_shares_change_no_order(fuse):
    scores = {"disc": {"a": 0.5, "b": 0.3}, "gen": {"b": 0.9}}
    assert list(fuse(scores)) == list(fuse({**scores, "text": {"a": 0.0, "b": 0.0}}))


@pytest.mark.parametrize("fuse", ALL)
def test_ties_go_by_id(fuse):
    same = {"b": 0.5, "a": 0.5, "c": 0.9}
    assert list(fuse({"disc": same, "gen": same})) == ["c", "a", "b"]
    assert list(fuse({"disc": {"b": 0.9, "a": 0.5}, "gen": {"b": 0.5, "a": 0.9}})) == ["a", "b"]


@pytest.mark.parametrize("fuse", ALL)
def test_nothing_in_nothing_out(fuse):
    assert fuse({"disc": {}, "gen": {}}) == {}


def test_opposites_alone_score_nothing():
    assert convex({"disc": {"a": -1.0}}) == {"a": 0.0}


@pytest.mark.parametrize(
    "weights",
    [{}, {"disc": 1}, {"disc": 1, "gen": 1, "text": 1}, {"disc": 0, "gen": 0}, {"disc": -1, "gen": 2},
     {"disc": math.nan, "gen": 1}, {"disc": math.inf, "gen": 1}],
)  # fmt: skip
def test_weights_that_cannot_work_are_refused(weights):
    for fuse in ALL:
        with pytest.raises(ConfigError, match="weight"):
            fuse({"disc": {}, "gen": {}}, weights)


def test_an_unknown_space_and_a_negative_k_are_refused():
    with pytest.raises(ConfigError, match="'colour'"):
        convex({"colour": {"a": 0.1}})
    with pytest.raises(ConfigError, match="k=-1"):
        reciprocal_rank({"disc": {"a": 0.1}}, k=-1)


def test_words_weigh_a_fifth_of_a_convex_fusion():
    for spaces in (("disc", "text"), ("gen", "text"), SPACES):
        weights = default_weights(spaces, "convex")
        assert weights["text"] / sum(weights.values()) == pytest.approx(0.2)
    assert default_weights(SPACES, "rrf") == default_weights(SPACES, "dbsf") == dict.fromkeys(SPACES, 1)
    assert default_weights(["text"], "convex") == {"text": 1}


def test_equating_carries_mean_and_deviation_over():
    source = {f"id{number}": 0.1 * number for number in range(ENOUGH)}
    target = {id: 0.5 + 2 * score for id, score in source.items()}
    given_scores = {"x": 0.35, "y": 5.0}
    assert equate(given_scores, source, target) == pytest.approx({"x": 1.2, "y": 10.5})
    assert equate(given_scores, {**source, "only": 9.0}, {**target, "here": -9.0}) == pytest.approx(
        {"x": 1.2, "y": 10.5}
    )


@pytest.mark.parametrize("count", [1, ENOUGH - 1])
def test_few_references_shift_and_do_not_stretch(count):
    source = {f"id{number}": 0.1 * number for number in range(count)}
    target = {id: 0.5 + 2 * score for id, score in source.items()}
    mean = statistics.fmean(source.values())
    found = equate({"x": 0.4, "y": 0.1}, source, target)
    assert found == pytest.approx({"x": 0.5 + mean + 0.4, "y": 0.5 + mean + 0.1})


@pytest.mark.parametrize("flat", [0, 1])
def test_scores_that_are_all_alike_do_not_stretch_either(flat):
    scales = [
        {f"id{number}": 0.1 * number for number in range(20)},
        dict.fromkeys([f"id{n}" for n in range(20)], 0.5),
    ]
    source, target = scales[flat], scales[1 - flat]
    found = equate({"x": 0.4, "y": 0.1}, source, target)
    assert found["x"] - found["y"] == pytest.approx(0.3)


def test_without_any_reference_scores_stay():
    assert equate({"x": 0.4}, {"a": 1.0}, {"b": 1.0}) == {"x": 0.4}


def assert_ordered(fused):
    pairs = list(fused.items())
    assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
