"""Failed: which nodes could not be encoded, told when the work on all others is done and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import EncodeErrors, InputError

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

MOST_NAMED = 10
"""So many failures are told with their reasons; a corpus of broken files is told by its number."""


def failures(nodes: Sequence[BaseNode], error: EncodeErrors) -> list[InputError]:
    """Returns what became of the nodes of a batch that failed, each with its node's id."""
    return [InputError(f"node {shorten(nodes[at].node_id, 60)}: {one}") for at, one in error.failures]


def failed_nodes(failed: Sequence[InputError], total: int, done: str) -> InputError:
    """Returns the one error of a call.

    Args:
        failed: what failed, at least one, each with its node's id.
        total: how many nodes there were.
        done: what became of the others, e.g. ``"written"``.
    """
    told = "; ".join(str(one) for one in failed[:MOST_NAMED])
    more = f"; and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
    others = f" ({len(failed)} of {total} nodes failed; the others are {done})" if total > 1 else ""
    return InputError(f"{told}{more}{others}")
