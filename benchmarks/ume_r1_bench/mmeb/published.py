"""Published MMEB scores as data: the paper's tables, and the score files that VLM2Vec's authors keep public.

Rows of different protocols do not compare, even where the benchmark has one name: the page tasks were
repaired, and instructions came and went. So each row says its protocol, and what in it contradicts itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from ume_r1_rag.errors import ConfigError

_PAPER_PROTOCOL = "ume-r1-paper"

_PROTOCOLS = {
    "v2.0.0": "v2.0.0",
    "v2.0.1": "v2.0.1",
    "v2.1-baselines-visdoc-page-fixed": "v2.1",
}
"""Protocol by folder of the public score files."""

_PROTOCOL_NOTES = {
    "v2.0.0": "old page tasks; MomentSeeker with duplicates; whether vidore had instructions is not recorded",
    "v2.0.1": "old page tasks; empty instructions for vidore",
    "v2.1": "page tasks repaired, the rest as in v2.0.1; without ViDoSeek-doc and MMLongBench-doc, so no All",
    _PAPER_PROTOCOL: "old page tasks; empty instructions for vidore; a blank image before a text",
}

_PRINTED = {
    # The VLM2Vec-V2 paper's averages; the scores are those it was written with.
    "v2.0.0/VLM2Vec-V2.0-Qwen2VL-2B.json": {"image": 64.9, "video": 34.6, "visdoc": 65.4, "All": 58.0},
}

_TABLE_NOTES = {
    "1": ("averages of the v2.0.0 score files, a few cells printed otherwise",),
    "5": ("averages as in the v2.0.0 score files, but OOD and VisRAG tasks of another run",),
}

_ROW_NOTES = {
    ("5", "DUME-2B"): "YouCook2 is printed 0.06; the printed average of video retrieval asks for 6.4",
    ("6", "VLM2Vec-V2 (Qwen2-VL-7B)"): "has the scores of the 2B model of Table 1",
}


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row that somebody published.

    Attributes:
        name: of the model, as there.
        source: where it stands.
        protocol: ``"v2.0.0"``, ``"v2.0.1"``, ``"v2.1"``, ``"ume-r1-paper"`` or ``"not stated"``;
            ``"mmeb-v1"`` for MMEB-V1.
        scores: points by task, hit@1 for image and video, linear NDCG@5 for visdoc; empty where only averages
            are published.
        averages: points as printed, by ``"All"``, ``"image"``, ``"image.CLS"`` and their like, in MMEB-V1
            also ``"IND"`` and ``"OOD"``; empty where none are printed.
        mode: ``"disc"``, ``"gen"``, ``"oracle"`` (the better of both for each query); empty of other models.
        notes: what to know before it is set beside another row.
        inconsistent: the printed averages that are more than 0.15 off the mean of what is printed below
            them, with that mean.
    """

    name: str
    source: str
    protocol: str
    scores: Mapping[str, float]
    averages: Mapping[str, float]
    mode: str = ""
    notes: tuple[str, ...] = ()
    inconsistent: Mapping[str, float] = field(default_factory=dict)


def published_rows(suite: str) -> list[PublishedRow]:
    """Returns the published rows of ``"mmeb-v2"`` or ``"mmeb-v1"``; of ``"mini"``, which is ours, none.

    Raises:
        ConfigError: there is no such suite.
    """
    if suite == "mini":
        return []
    if suite not in ("mmeb-v2", "mmeb-v1"):
        raise ConfigError(f'suite {suite!r} has no published rows: use "mmeb-v2" or "mmeb-v1"')
    old = suite == "mmeb-v1"
    rows = [_paper_row(row) for row in _data("ume_r1_paper")["rows"] if (row["table"] == "6") is old]
    return rows if old else rows + [_file_row(row) for row in _data("vlm2vec_scores")["rows"]]


@cache
def _data(name: str) -> dict[str, Any]:
    file = resources.files("ume_r1_bench.mmeb") / "data" / "published" / f"{name}.json"
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def _paper_row(row: Mapping[str, Any]) -> PublishedRow:
    table, name = row["table"], row["name"]
    notes = () if name.startswith("CAFe") else _TABLE_NOTES.get(table, ())
    if row["mode"]:  # the authors' own run; their baselines' are other people's
        notes = () if table == "6" else (_PROTOCOL_NOTES[_PAPER_PROTOCOL],)
    if (table, name) in _ROW_NOTES:
        notes = (*notes, _ROW_NOTES[table, name])
    if table == "6":
        protocol = "mmeb-v1"
    elif row["mode"]:
        protocol = _PAPER_PROTOCOL
    else:
        protocol = "v2.0.0" if table == "1" and not name.startswith("CAFe") else "not stated"
    return PublishedRow(
        name,
        f"UME-R1 paper (arXiv 2511.00405), Table {table}",
        protocol,
        row.get("scores", {}),
        row["averages"],
        row["mode"],
        notes,
        row.get("inconsistent", {}),
    )


def _file_row(row: Mapping[str, Any]) -> PublishedRow:
    folder = row["file"].partition("/")[0]
    protocol = _PROTOCOLS[folder]
    return PublishedRow(
        row["name"],
        f"VLM2Vec repository, all_scores/{row['file']}, of {row['generated']}",
        protocol,
        row["scores"],
        _PRINTED.get(row["file"], {}),
        notes=(_PROTOCOL_NOTES[protocol],),
    )
