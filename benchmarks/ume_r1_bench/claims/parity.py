"""Parity: disc, and gen on forced ids, against a plain transformers forward; on a CPU, in float32."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ume_r1_bench.claims.machine import machine, versions


def measure_parity(model: str | None, limit: int | None = None) -> dict[str, Any]:
    """Returns the greatest differences, with what they were measured on.

    Args:
        model: ``"nano"``, a folder or a hub id.
        limit: take so many of the 66 inputs, evenly spread over their kinds.

    Raises:
        CheckpointError: there is no such model.
    """
    from ume_r1_bench.parity import PlainForward, forced_parity
    from ume_r1_bench.parity_inputs import parity_inputs
    from ume_r1_rag.encoder import UmeR1Encoder

    every = parity_inputs()
    taken = len(every) if limit is None else min(limit, len(every))
    inputs = [every[at * len(every) // taken] for at in range(taken)]
    with UmeR1Encoder(model, dtype="float32", device="cpu", preset="serving", max_new_tokens=128) as encoder:
        forced = forced_parity(encoder, PlainForward(encoder.model_path), inputs)
        return {
            "tool": "ume-r1 claims parity",
            "fingerprint": encoder.fingerprint,
            "machine": machine(),
            "versions": versions(),
            "forced": asdict(forced),
        }
