"""What a vector depends on, as data: two collections may be mixed if and only if theirs are equal.

Not in it: the dtype and the batch size. They move a disc vector by rounding, and a gen vector by whatever
other words the model then writes; the README gives the measured sizes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ume_r1_rag.template import EMBED_PROMPT, Preset

if TYPE_CHECKING:
    from ume_r1_rag.types import Think

SCHEMA = 1
"""Raised when the way from an input to a vector changes."""


def make_fingerprint(
    model: str, revision: str | None, weights: str, preset: Preset, dimension: int, think: Think
) -> dict[str, Any]:
    """Returns the fingerprint of an encoder.

    Args:
        model: its name; ``"local"`` for a directory, which its weights identify.
        revision: hub revision, if any.
        weights: content digest of the checkpoint.
        preset: everything in it counts.
        dimension: D.
        think: the think budget of the gen vectors.
    """
    protocol = json.dumps([EMBED_PROMPT, asdict(preset)], sort_keys=True)
    return {
        "schema": SCHEMA,
        "model": model,
        "revision": revision,
        "weights": weights,
        "preset": preset.name,
        "protocol": hashlib.sha256(protocol.encode()).hexdigest()[:16],
        "dimension": dimension,
        "think": think,
    }


def digest(fingerprint: Mapping[str, Any]) -> str:
    """Returns a short digest of a fingerprint."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()[:16]
