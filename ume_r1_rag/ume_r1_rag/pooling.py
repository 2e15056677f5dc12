"""An embedding is the hidden state at a marker: where the markers are, and how a state becomes a vector.

Source: paper section 3.2; ``eval_twomode.py`` of the release. This is the only place with a marker index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt


def last_index(ids: Sequence[int], marker: int) -> int | None:
    """Returns the last position of ``marker`` in ``ids``, or None."""
    for position in range(len(ids) - 1, -1, -1):
        if ids[position] == marker:
            return position
    return None


def disc_index(prompt_ids: Sequence[int], disc_id: int) -> int:
    """Returns where the prompt's ``<disc_emb>`` stands.

    Raises:
        ValueError: the prompt has none, which means that it was not rendered by the template.
    """
    found = last_index(prompt_ids, disc_id)
    if found is None:
        raise ValueError(f"the prompt of {len(prompt_ids)} tokens has no <disc_emb> (id {disc_id})")
    return found


def gen_index(completion_ids: Sequence[int], gen_id: int) -> int | None:
    """Returns where the last *generated* ``<gen_emb>`` stands in the completion, or None.

    The prompt itself contains a literal ``<gen_emb>``, so only completion ids may be searched.
    """
    return last_index(completion_ids, gen_id)


def normalize(states: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Returns states ``(..., D)`` divided by their L2 norm, as float32.

    Raises:
        ValueError: a state is zero or not finite; no direction can be made of it.
    """
    import numpy as np

    array = np.asarray(states, dtype=np.float32)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norms)) or np.any(norms == 0):
        raise ValueError(f"a hidden state of norm {float(np.min(norms))} cannot be normalised")
    unit: npt.NDArray[np.float32] = array / norms
    return unit
