"""The packed form: one vector by which any store ranks as the weighted sum does."""

import numpy as np
import pytest

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.packed import STORE_LIMITS, exceeded, pack_document, pack_query


def units(rng, *shape):
    found = rng.standard_normal(shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_shapes_and_dtype(rng):
    disc, gen = units(rng, 16), units(rng, 16)
    document, query = pack_document(disc, gen), pack_query(disc, gen, (0.3, 0.7))
    assert document.shape == query.shape == (32,)
    assert document.dtype == query.dtype == np.float32
    assert np.array_equal(document[:16], disc)
    assert np.array_equal(document[16:], gen)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.8), (1.0, 0.0), (3.0, 1.0)])
def test_every_metric_ranks_by_the_weighted_sum(rng, weights):
    disc, gen = units(rng, 50, 24), units(rng, 50, 24)
    asked_disc, asked_gen = units(rng, 24), units(rng, 24)
    documents = np.stack([pack_document(*pair) for pair in zip(disc, gen, strict=True)])
    query = pack_query(asked_disc, asked_gen, weights)

    wanted = weights[0] * disc @ asked_disc + weights[1] * gen @ asked_gen
    assert documents @ query == pytest.approx(wanted, abs=1e-6)
    order = np.argsort(-wanted)
    cosine = documents @ query / (np.linalg.norm(documents, axis=1) * np.linalg.norm(query))
    distance = np.linalg.norm(documents - query, axis=1)
    assert np.array_equal(np.argsort(-cosine), order)
    assert np.array_equal(np.argsort(distance), order)


@pytest.mark.parametrize("weights", [(0, 0), (-1, 1), (float("nan"), 1), (1,), ("a", "b"), None])
def test_weights_that_mean_nothing_are_refused(rng, weights):
    with pytest.raises(ConfigError, match="weights="):
        pack_query(units(rng, 4), units(rng, 4), weights)


def test_vectors_of_two_lengths_are_refused(rng):
    with pytest.raises(ConfigError, match=r"\(4,\) and gen of shape \(5,\)"):
        pack_document(units(rng, 4), units(rng, 5))


def test_limits_are_named_as_they_are_passed():
    assert [limit.dimensions for limit in STORE_LIMITS] == sorted(limit.dimensions for limit in STORE_LIMITS)
    assert exceeded(2 * 128) == []
    assert [limit.dimensions for limit in exceeded(2 * 1536)] == [2_000]
    assert [limit.dimensions for limit in exceeded(2 * 3584)] == [2_000, 4_000, 4_096]
    assert all(limit.source.startswith("https://") for limit in STORE_LIMITS)
