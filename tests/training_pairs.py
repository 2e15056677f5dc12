"""Pairs to make training data of: small, of three modalities, with their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ume_r1_rag.template import completion_text
from ume_r1_trainer.data.record import Content, make_record, with_completion

COLOURS = ("red", "green", "blue", "black", "orange", "purple")


def picture(media: Path, name: str, colour: str = "red") -> str:
    (media / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (28, 28), colour).save(media / name)
    return name


def pair(number: int, dataset: str = "find", modality: str | None = "image") -> dict:
    query = Content(f"query {number} of {dataset}")
    shown = Content("Represent the given image.", ("images/a.png",))
    return make_record(dataset, f"{dataset}/{number}", modality, query, shown)


def annotated(record: dict, reasoning: str = "It is seen.", summary: str = "a summary") -> dict:
    done = dict(record)
    for side in ("qry", "pos"):
        done[side] = with_completion(record[side], completion_text(reasoning, summary))
    return done


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict]:
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
