"""Hand-made rows of MMEB tasks, and the files they name."""

from __future__ import annotations

import json
from pathlib import Path

from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.mmeb.task import TASKS

V21 = PROTOCOLS["v2.1"]


def write(path: Path, rows):
    """Writes rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def touch(*paths: Path):
    """Makes empty files."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def film(folder: Path, count=3, pattern="frame_{:04d}.jpg"):
    """Makes the frames of a clip, which nobody will look at."""
    touch(*(folder / pattern.format(number) for number in range(1, count + 1)))


def load(name, data, protocol=V21, **options):
    """Returns a task by what is on disk alone."""
    return load_task(TASKS[name], data, protocol, online=False, **options)


def image_row(inst, text="", picture="", target="", texts=("",), pictures=("",)):
    """Returns a row of MMEB_Test_Instruct."""
    return {
        "qry_inst": inst,
        "qry_text": text,
        "qry_img_path": picture,
        "tgt_inst": target,
        "tgt_text": list(texts),
        "tgt_img_path": list(pictures),
    }


def image_task(tmp_path, name, *rows):
    """Writes an image task with its pictures, and returns it as it loads."""
    write(tmp_path / "image-tasks" / name / "test.jsonl", rows)
    for row in rows:
        for picture in filter(None, [row["qry_img_path"], *row["tgt_img_path"]]):
            touch(tmp_path / "image-tasks" / picture)
    return load(name, tmp_path)
