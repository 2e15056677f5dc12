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
from ume_r1_rag.types import INFORMATIVE_FIELDS

if TYPE_CHECKING:
    from ume_r1_rag.types import Space, Think

SCHEMA = 1
"""Raised when the way from an input to a vector changes."""


def make_fingerprint(
    weights: str,
    preset: Preset,
    protocol: Mapping[str, Any],
    dimension: int,
    think: Think,
    model: str,
    revision: str | None,
) -> dict[str, Any]:
    """Returns the fingerprint of an encoder, its values as in JSON.

    Args:
        weights: content digest of the checkpoint.
        preset: kept whole, so that a reader of a collection can encode by it.
        protocol: of the backend: prompt, pixels and end tokens as they are in force.
        dimension: D.
        think: the think budget of the gen vectors.
        model: what the model was called; for people, the weights decide.
        revision: hub revision, if any; likewise.
    """
    in_force = json.dumps([EMBED_PROMPT, dict(protocol)], sort_keys=True)
    return {
        "schema": SCHEMA,
        "weights": weights,
        "preset": asdict(preset),
        "protocol": hashlib.sha256(in_force.encode()).hexdigest()[:16],
        "dimension": dimension,
        "think": think,
        "model": model,
        "revision": revision,
    }


def spaces_in(fingerprint: Mapping[str, Any]) -> tuple[Space, ...]:
    """Returns the spaces of the encoder that a fingerprint is of: gen is among them if it has a think budget.

    For those who have not loaded a model. Of an empty fingerprint, both.
    """
    return ("disc",) if fingerprint and "think" not in fingerprint else ("disc", "gen")


def digest(fingerprint: Mapping[str, Any]) -> str:
    """Returns a short digest of what decides in a fingerprint."""
    deciding = {name: value for name, value in fingerprint.items() if name not in INFORMATIVE_FIELDS}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]
