"""An ingestion that is killed again and again: run by ``test_crash.py`` as a process of its own.

It forks for every try, since that costs less than starting Python, and since an embedded index must not be
open in the process that forks. Prints one JSON object: what was found after every kill, and at the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hash_encoder import HashEncoder
from made_files import write_clip, write_pdf
from PIL import Image

from ume_r1_rag.errors import InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import DeadLetters, Walk, ingest
from ume_r1_rag.ingest.files import File
from ume_r1_rag.ingest.opened import ReadOptions, open_file
from ume_r1_rag.types import Document, MultimodalInput

BATCH = 2
SEGMENT_S = 2
MORE_TEXTS = 20
MOST_TEXTS = 2000
BROKEN = ("broken.pdf", "broken.png", "pages.pdf#page=1")


class Encoder(HashEncoder):
    """Refuses the one picture that is all red, which is the first page of a PDF."""

    def __init__(self) -> None:
        super().__init__(fail=_too_red)


def _too_red(one: MultimodalInput) -> InputError | None:
    if one.images and (one.instruction or "").endswith("document image."):
        red, green, _ = one.images[0].getpixel((9, 9))
        if red > 200 and green < 50:
            return InputError("too red")
    return None


def lay_out(root: Path, version: str, texts: int) -> None:
    """Writes the files; in the old version a PDF and a video are longer, and half of the texts missing."""
    old = version == "old"
    (root / "sub").mkdir(parents=True, exist_ok=True)
    write_texts(root, version, range(texts // 2 if old else texts))
    write_pdf(root / "long.pdf", 9 if old else 5, version)
    colours = ["red" if version == "new" else "blue", "white", "white"]
    pages = [Image.new("RGB", (100, 100), colour) for colour in colours]
    pages[0].save(root / "pages.pdf", save_all=True, append_images=pages[1:])
    write_clip(root / "talk.mp4", frames=8 if old else 4, rate=1)
    for number in range(3):
        Image.new("RGB", (30, 30), (0, 80 * number, 99 if old else 0)).save(root / f"{number}.png")
    for name in ("broken.pdf", "broken.png"):
        (root / name).write_bytes(b"rubbish")


def write_texts(root: Path, version: str, numbers: range) -> None:
    """Writes some of the texts."""
    for number in numbers:
        (root / "sub" / f"{number:03}.txt").write_text(f"text {number} of the {version} version")


def readable(root: Path) -> list[Document]:
    """Returns the documents of the files, read as the encoder would have them."""
    found: list[Document] = []
    for file in Walk([root]):
        if isinstance(file, File) and not file.title.startswith("broken"):
            with open_file(file, ReadOptions.of(Encoder(), None, SEGMENT_S)) as opened:
                found += [opened.read(number) for number in range(1, opened.parts + 1)]
    return found


def warm_up(root: Path) -> None:
    """Imports in this process, once, what every fork would import anew."""
    lay_out(root, "new", 2)
    encoder = Encoder()
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, root, segment_s=SEGMENT_S)


def forked(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Runs ``work`` in a fork; returns its process id and the pipe on which it says things."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        os.close(reading)
        work(lambda line: os.write(writing, f"{line}\n".encode()))
    except BaseException as error:  # noqa: BLE001 -- a fork must never go on with its parent's work
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def ingest_once(root: Path, index_path: Path, say: Callable[[str], None]) -> None:
    """Ingests; says the keys of each batch as soon as the index has acknowledged it."""
    encoder = Encoder()
    with QdrantIndex(index_path, fingerprint=encoder.fingerprint) as index:
        upsert = index.upsert

        def acknowledged(found: Any, embeddings: Any, **options: Any) -> int:
            written = upsert(found, embeddings, **options)
            say(json.dumps([document.key for document in found]))
            return written

        index.upsert = acknowledged
        report = ingest(encoder, index, root, batch_size=BATCH, segment_s=SEGMENT_S)
    say(json.dumps({"indexed": report.indexed, "unchanged": report.unchanged, "failed": report.failed}))


def kill(root: Path, index_path: Path, moment: random.Random) -> tuple[list[str], bool]:
    """Starts an ingestion and kills it somewhere.

    Returns:
        The keys that had been acknowledged, and whether the kill came before the end.
    """
    process, pipe = forked(lambda say: ingest_once(root, index_path, say))
    acknowledged: list[str] = []
    with os.fdopen(pipe, "rb") as lines:
        batches = moment.choice([0, 0, 1, 1, 2, 3])
        if not batches:  # while it opens the index, or reads the first files
            time.sleep(moment.uniform(0, 0.4))
        said = [line for _ in range(batches) if (line := lines.readline())]
        time.sleep(moment.uniform(0, 0.04))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        for line in [*said, *lines]:
            if line.endswith(b"\n") and line.startswith(b"["):
                acknowledged += json.loads(line)
    # A driver of this kind that dies of itself would be counted as killed, were its status not looked at.
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the ingestion failed"
    return acknowledged, os.WIFSIGNALED(status)


def check(index_path: Path, expected: dict[str, Document], acknowledged: set[str]) -> list[str]:
    """Returns what is wrong with an index."""
    if not index_path.exists():
        return ["acknowledged without an index"] if acknowledged else []
    encoder, wrong = Encoder(), list[str]()
    with QdrantIndex(index_path, fingerprint=encoder.fingerprint) as index:
        records = index.share_client().scroll(index.physical, limit=10_000, with_vectors=True)[0]
        stored = {record.payload["ume_key"]: record for record in records}
        if len(stored) != len(records):
            wrong.append("a document is stored twice")
        for key, record in stored.items():
            if sorted(record.vector) != sorted(record.payload["ume_spaces"]) or len(record.vector) < 3:
                wrong.append(f"{key} is stored in part: {sorted(record.vector)}")
        new = {
            key: record
            for key, record in stored.items()
            if key in expected and record.payload["ume_content_hash"] == expected[key].content_hash
        }
        wrong += [f"{key} was acknowledged, and is lost" for key in acknowledged - new.keys()]
        for key, record in new.items():
            made = encoder.encode_document(expected[key].input, "both")
            wrong += [
                f"{key} has another {space} vector"
                for space in ("disc", "gen")
                if not np.allclose(record.vector[space], getattr(made, space), atol=1e-5)
            ]
        # What the next run goes by: a file that is new in all its parts has no stale ones.
        files = {document.document for document in expected.values()}
        for file in files:
            parts = {key for key, document in expected.items() if document.document == file}
            have = {key for key, record in stored.items() if record.payload["ume_document"] == file}
            if parts <= new.keys() and have - parts:
                wrong.append(f"{file} is finished, and has stale parts: {have - parts}")
        wrong += [f"{letter.name} did not fail" for letter in DeadLetters(index) if letter.name not in BROKEN]
    return wrong


def ask(work: Callable[[], Any]) -> Any:
    """Returns what ``work`` returns, called in a fork of its own."""
    process, pipe = forked(lambda say: say(json.dumps(work())))
    with os.fdopen(pipe, "rb") as lines:
        answer = lines.read()
    _, status = os.waitpid(process, 0)
    assert status == 0, "a check failed as such"
    return json.loads(answer)


def finish(root: Path, index_path: Path) -> dict[str, Any]:
    """Ingests twice without being killed; returns what was done, and what is then stored."""
    lines: list[str] = []
    ingest_once(root, index_path, lines.append)
    ingest_once(root, index_path, lines.append)
    done = [json.loads(line) for line in lines if line.startswith("{")]
    with QdrantIndex(index_path) as index:
        keys = [hit.key for hit in index.scroll()]
        letters = sorted(letter.name for letter in DeadLetters(index))
    return {"first": done[0], "second": done[1], "keys": sorted(keys), "failures": letters}


def wanted(root: Path) -> dict[str, Document]:
    """Returns what an index of all files must hold, by key."""
    return {one.key: one for one in readable(root) if not one.key.endswith("pages.pdf#page=1")}


def main(folder: Path, kills: int, seed: int, texts: int) -> None:
    """Runs it all."""
    root, index_path = folder / "files", folder / "index"
    warm_up(folder / "warm")
    lay_out(root, "old", texts)
    ask(lambda: ingest_once(root, index_path, lambda line: None))
    lay_out(root, "new", texts)
    moment, acknowledged, wrong, killed = random.Random(seed), set[str](), list[str](), 0
    expected = wanted(root)
    while killed < kills:
        keys, in_time = kill(root, index_path, moment)
        acknowledged |= set(keys)
        found = ask(partial(check, index_path, expected, acknowledged))
        wrong += [f"after kill {killed + 1}: {one}" for one in found]
        killed += in_time
        if not in_time:  # a fast machine was through first: more files, and on
            assert texts < MOST_TEXTS, "ingestions end faster than they can be killed"
            # The other files stay as they are: written anew, a PDF has another date, and counts as changed.
            write_texts(root, "new", range(texts, texts + MORE_TEXTS))
            texts += MORE_TEXTS
            expected = wanted(root)
    result = ask(lambda: finish(root, index_path))
    result |= {
        "wrong": wrong
        + [f"at the end: {one}" for one in ask(lambda: check(index_path, expected, set(expected)))],
        "kills": killed,
        "acknowledged": len(acknowledged),
        "expected": sorted(expected),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
