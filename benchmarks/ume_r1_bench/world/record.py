"""Pairs as records of the official ``UME-sft-train`` shape."""

from __future__ import annotations

from typing import Any

from ume_r1_bench.world.clip import Clip
from ume_r1_bench.world.families import Pair, Side
from ume_r1_bench.world.shelf import BLANK, Shelf
from ume_r1_rag.template.prompt import completion_text, user_text


def side_record(side: Side, shelf: Shelf) -> dict[str, Any]:
    """Returns one side of a record; its files are written if they are not there yet."""
    placeholder = "<video>" if isinstance(side.media, Clip) else "<image>"
    record: dict[str, Any] = {
        "conversations": [
            {"from": "human", "value": placeholder + user_text(side.text)},
            {"from": "gpt", "value": completion_text(side.trace.reasoning, side.trace.summary)},
        ]
    }
    if side.media is None:
        record["image"] = BLANK
    elif isinstance(side.media, Clip):
        record["video"] = list(shelf.place(side.media).frames)
    else:
        record["image"] = shelf.place(side.media).image
    return record


def pair_record(pair: Pair, shelf: Shelf) -> dict[str, Any]:
    """Returns a pair as a record."""
    return {
        "dataset_name": pair.family,
        "qry": side_record(pair.query, shelf),
        "pos": side_record(pair.target, shelf),
    }
