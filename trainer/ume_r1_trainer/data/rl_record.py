"""Records of the official ``UME-rl-train`` shape (facts of the release: ``grpo_embed.py``).

One record: ``{"dataset", "dataset_name", "qry_text", "qry_image": "" | path, "qry_video": [""] | [frames],
"solution": "<embedding>", "pos_text", "pos_image", "pos_video"}``. Text and media are bare: the trainer puts
``<disc_emb>`` and the instruction behind them, and gives a text alone its blank picture. ``id`` and
``modality`` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ume_r1_trainer.data.record import SIDES, content_of, modality_of

SOLUTION = "<embedding>"


def to_rl_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a pair as a record for GRPO; reasoning and summaries are left behind."""
    made: dict[str, Any] = {
        "id": record["id"],
        "modality": modality_of(record),
        "dataset": record["dataset_name"],
        "dataset_name": record["dataset_name"],
        "solution": SOLUTION,
    }
    for side in SIDES:
        content = content_of(record[side], side)
        images = content.images
        made[f"{side}_text"] = content.text
        made[f"{side}_image"] = "" if not images else images[0] if len(images) == 1 else list(images)
        made[f"{side}_video"] = list(content.frames) or [""]
    return made
