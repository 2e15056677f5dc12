"""Where the markers are, and how a state becomes a vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ume_r1_rag.pooling import disc_index, gen_index, last_index, normalize


@given(st.lists(st.integers(0, 3), max_size=20))
def test_a_marker_is_looked_for_from_the_end(ids):
    found = last_index(ids, 2)
    if 2 not in ids:
        assert found is None
    else:
        assert ids[found] == 2
        assert 2 not in ids[found + 1 :]


def test_disc_is_the_prompts_last_marker_and_must_be_there():
    assert disc_index((1, 9, 1, 9, 1), 9) == 3
    with pytest.raises(ValueError, match=r"3 tokens has no <disc_emb> \(id 9\)"):
        disc_index((1, 2, 3), 9)


def test_gen_is_the_last_generated_marker_if_any():
    assert gen_index((8, 1, 8, 1), 8) == 2
    assert gen_index((), 8) is None
    assert gen_index((1, 2), 8) is None


def test_vectors_are_of_length_one_and_float32():
    states = np.array([[3.0, 4.0], [0.0, -2.0]], np.float64)
    found = normalize(states)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, -1.0]], atol=1e-7)
    np.testing.assert_allclose(normalize(states[0]), found[0])
    assert normalize(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("state", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [[1.0, 0.0], [0.0, 0.0]]])
def test_a_state_without_a_direction_is_refused(state):
    with pytest.raises(ValueError, match="cannot be normalised"):
        normalize(state)
