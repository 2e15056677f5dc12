"""Fusion, against loops written straight from the formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.retriever.fusion import convex, reciprocal_rank

IDS = st.sampled_from([f"id{number}" for number in range(8)])
SPACES = ("disc", "gen", "text")
# Few distinct values, so that ties are common.
SCORES = st.fixed_dictionaries(
    {space: st.dictionaries(IDS, st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.7, 1.0])) for space in SPACES}
)
RANKINGS = st.fixed_dictionaries({space: st.lists(IDS, unique=True) for space in SPACES})
WEIGHTS = st.fixed_dictionaries({space: st.sampled_from([0.0, 0.3, 1.0, 2.0]) for space in SPACES}).filter(
    lambda weights: any(weights.values())
)


@given(SCORES, WEIGHTS)
def test_convex_equals_the_direct_loop(scores, weights):
    fused = convex(scores, weights)
    expected = {}
    for id in {id for space in SPACES for id in scores[space]}:
        total = sum(weights[space] for space in SPACES if id in scores[space])
        if total > 0:
            expected[id] = (
                sum(weights[space] * scores[space][id] for space in SPACES if id in scores[space]) / total
            )
    assert fused == pytest.approx(expected, abs=1e-12)
    _assert_ordered(fused)


@given(RANKINGS, WEIGHTS, st.integers(0, 60))
def test_rrf_equals_the_direct_loop(rankings, weights, k):
    fused = reciprocal_rank(rankings, weights, k)
    expected: dict[str, float] = {}
    for space, ranking in rankings.items():
        for position, id in enumerate(ranking):
            if weights[space]:
                expected[id] = expected.get(id, 0.0) + weights[space] / (k + position + 1)
    assert fused == pytest.approx(expected, abs=1e-12)
    _assert_ordered(fused)


@given(SCORES, st.sampled_from([0.1, 3.0]))
def test_convex_depends_only_on_the_ratio_of_the_weights(scores, factor):
    one = convex(scores, {"disc": 1.0, "gen": 2.0, "text": 0.5})
    other = convex(scores, {"disc": factor, "gen": 2 * factor, "text": 0.5 * factor})
    assert one == pytest.approx(other)


@given(SCORES)
def test_the_order_of_spaces_and_ids_changes_nothing(scores):
    turned = {space: dict(reversed(scores[space].items())) for space in reversed(SPACES)}
    assert list(convex(scores).items()) == list(convex(turned).items())
    ranks, ranks_turned = ({s: list(scores[s]) for s in order} for order in (SPACES, SPACES[::-1]))
    assert list(reciprocal_rank(ranks).items()) == list(reciprocal_rank(ranks_turned).items())


def test_a_document_without_gen_is_judged_by_disc_alone_and_stays_visible():
    fused = convex({"disc": {"a": 0.8, "b": 0.7}, "gen": {"b": 0.8}}, {"disc": 1, "gen": 3})
    assert list(fused) == ["a", "b"]
    assert fused["a"] == pytest.approx(0.8)
    assert fused["b"] == pytest.approx((0.7 + 3 * 0.8) / 4)


def test_ties_go_by_id():
    assert list(convex({"disc": {"b": 0.5, "a": 0.5, "c": 0.9}})) == ["c", "a", "b"]
    assert list(reciprocal_rank({"disc": ["b", "a"], "gen": ["a", "b"]})) == ["a", "b"]


def test_a_repeated_id_counts_once_at_its_better_rank():
    assert reciprocal_rank({"disc": ["a", "a", "b"]}) == pytest.approx({"a": 1 / 61, "b": 1 / 62})


def test_nothing_in_nothing_out():
    assert convex({"disc": {}, "gen": {}}) == {}
    assert reciprocal_rank({"disc": []}) == {}


@pytest.mark.parametrize(
    "weights",
    [{}, {"disc": 1}, {"disc": 1, "gen": 1, "text": 1}, {"disc": 0, "gen": 0}, {"disc": -1, "gen": 2},
     {"disc": math.nan, "gen": 1}, {"disc": math.inf, "gen": 1}],
)  # fmt: skip
def test_weights_that_cannot_work_are_refused(weights):
    for fuse in (convex, reciprocal_rank):
        with pytest.raises(ConfigError, match="weight"):
            fuse({"disc": {}, "gen": {}}, weights)


def test_a_negative_k_is_refused():
    with pytest.raises(ConfigError, match="k=-1"):
        reciprocal_rank({"disc": ["a"]}, k=-1)


def _assert_ordered(fused):
    pairs = list(fused.items())
    assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
