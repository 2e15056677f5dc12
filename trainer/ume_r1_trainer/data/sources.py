"""Sources: the data sets that the paper samples (section 2), and how their rows become queries and targets.

MMEB-train is read by its columns. ViDoRe's, VisRAG's and LLaVA-Hound's rows become pairs as VLM2Vec-V2 makes
them: a ViDoRe query is a page with its question and its target the answer; a VisRAG query is a question and
its target the page; a LLaVA-Hound video is the query of its caption, the target of its caption, or has a
question. Departure: VisRAG's pairs carry the instructions of MMEB-V2's page tasks, not VLM2Vec's ten for its
ten sources.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_trainer.data.record import Content, columns_content, content_of, make_record
from ume_r1_trainer.data.rows import read_rows
from ume_r1_trainer.data.table import Table, files_of, open_table, picture_of
from ume_r1_trainer.records import RecordError

MMEB_TRAIN: Final = (
    "ImageNet_1K N24News HatefulMemes VOC2007 SUN397 OK-VQA A-OKVQA DocVQA InfographicsVQA ChartQA Visual7W "
    "VisDial CIRR VisualNews_t2i VisualNews_i2t MSCOCO_t2i MSCOCO_i2t NIGHTS WebQA MSCOCO"
).split()
"""MMEB's 20 in-distribution data sets."""

KINDS: Final = ("mmeb", "llavahound", "vidore", "visrag", "records")

UNREADABLE: Final = "unreadable rows"
"""What stands for the data set of a row that names none."""

FRAMES: Final = 8
"""Of a video, as VLM2Vec takes them."""

_QA_PROMPT: Final = "Answer a question based on the content of a video."
_LLAVAHOUND: Final = (
    ("video_caption_300k", "video_caption_300k.jsonl"),
    ("video_caption_300k-video", "video_caption_300k.jsonl"),
    ("video_qa_240k", "video_240k_caption_15k.jsonl"),
)

Make = Callable[[Any, str], tuple[Content, Content]]
"""Makes query and positive of a row, given the place for errors; raises ``RecordError``."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data set to be sampled.

    Attributes:
        dataset: its name.
        kind: see ``KINDS``.
        modality: of its records; None to leave it to them.
        table: its rows.
        make: makes the sides of a row.
        numbers: rows of the table that are the data set's; None for all.
    """

    dataset: str
    kind: str
    modality: str | None
    table: Table
    make: Make
    numbers: Sequence[int] | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.table) if self.numbers is None else len(self.numbers)

    def draw(self, picks: Sequence[int]) -> Iterator[tuple[str, dict[str, Any] | RecordError]]:
        """Yields the ids of the picked rows with their records, or with what is wrong with them."""
        numbers = picks if self.numbers is None else [self.numbers[at] for at in picks]
        for number, row in self.table.rows(numbers):
            # A record keeps its own id and modality; its completions are left behind.
            own = row if self.kind == "records" and isinstance(row, Mapping) else {}
            identity, modality = own.get("id", f"{self.dataset}/{number}"), own.get("modality", self.modality)
            where = f"{self.dataset}:{number + 1}"
            if isinstance(row, RecordError) or not isinstance(row, Mapping):
                wrong = RecordError(f"{where}: is a {type(row).__name__}, not a row of columns")
                yield identity, row if isinstance(row, RecordError) else wrong
                continue
            try:
                made = self.make(row, where)
            except RecordError as error:
                yield identity, error
                continue
            yield identity, make_record(self.dataset, identity, modality, *made)


def open_sources(kind: str, where: str, media: Path, only: Sequence[str] = ()) -> list[Source]:
    """Returns the data sets of a source.

    Args:
        kind: see ``KINDS``.
        where: a file, a folder, or ``owner/name`` on the Hub; ``llavahound`` is a folder, ``records`` a file.
        media: where media paths start; pictures that stand in columns are written below it.
        only: names of data sets; empty for all.

    Raises:
        ConfigError: there is no such kind or place, or a folder lies outside ``media``.
        FetchError: the Hub cannot be reached or has no such data set.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of source: give one of {', '.join(KINDS)}")
    if kind == "records":
        found = _of_records(Path(where))
    elif kind == "llavahound":
        found = _of_llavahound(Path(where), media, only)
    elif kind == "mmeb":
        return [
            Source(name, kind, "image", open_table(where, name, "original"), columns_content)
            for name in _mmeb_names(where)
            if not only or name in only
        ]
    else:
        make = _Pages(media, kind)
        name = "colpali_train_set" if kind == "vidore" else "visrag_in_domain"
        if only and name not in only:
            return []
        found = [Source(name, kind, "visdoc", open_table(where), make)]
    return [source for source in found if not only or source.dataset in only]


def _mmeb_names(where: str) -> list[str]:
    path = Path(where)
    if not path.exists():
        return list(MMEB_TRAIN)
    names = [one.name for one in path.iterdir() if one.is_dir() and files_of(one, "original")]
    names += [one.stem for one in path.iterdir() if one.suffix in (".parquet", ".jsonl")]
    if not names:
        raise ConfigError(f"{path} has no folder of a data set, and no .parquet or .jsonl")
    return sorted(set(names), key=lambda name: (MMEB_TRAIN.index(name) if name in MMEB_TRAIN else 99, name))


class _Pages:
    """Makes pairs of pages that stand in a column, and writes these to files."""

    def __init__(self, media: Path, kind: str) -> None:
        self._media, self._kind = media, kind

    def __call__(self, row: Any, where: str) -> tuple[Content, Content]:
        query = str(row.get("query") or "").strip()
        if not query:
            raise RecordError(f"{where}.query: is empty")
        image = self._place(picture_of(row.get("image"), f"{where}.image"), f"{where}.image")
        if self._kind == "vidore":
            answer = str(row.get("answer") or "").strip()
            if not answer:
                raise RecordError(f"{where}.answer: is empty")
            return Content(query, (image,)), Content(answer)
        instruction = INSTRUCTIONS["page"]
        return Content(f"{instruction.query} {query}"), Content(instruction.document, (image,))

    def _place(self, content: bytes, where: str) -> str:
        from io import BytesIO

        from PIL import Image

        try:
            suffix = (Image.open(BytesIO(content)).format or "png").lower()
        except (OSError, SyntaxError, ValueError) as error:
            raise RecordError(f"{where}: is no picture ({error})") from error
        name = f"{self._kind}/images/{hashlib.sha256(content).hexdigest()[:24]}.{suffix}"
        path = self._media / name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_bytes(content)
            partial.replace(path)
        return name


def _of_records(path: Path) -> list[Source]:
    numbers: dict[str, list[int]] = {}
    table = _RowsTable(path)
    for number, row in enumerate(read_rows(path)):
        name = UNREADABLE if row.record is None else row.record["dataset_name"]
        numbers.setdefault(name, []).append(number)

    def make(row: Any, where: str) -> tuple[Content, Content]:
        return content_of(row["qry"], f"{where}.qry"), content_of(row["pos"], f"{where}.pos")

    return [Source(name, "records", None, table, make, rows) for name, rows in numbers.items()]


@dataclass(frozen=True, slots=True)
class _RowsTable:
    """The rows of a file of records, as records."""

    path: Path

    def __len__(self) -> int:
        return sum(1 for _ in read_rows(self.path))

    def rows(self, picks: Collection[int]) -> Iterator[tuple[int, Any]]:
        wanted = set(picks)
        for row in read_rows(self.path):
            if row.number - 1 in wanted:
                yield row.number - 1, RecordError(row.fault) if row.record is None else row.record


def _of_llavahound(folder: Path, media: Path, only: Sequence[str]) -> list[Source]:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: give LLaVA-Hound's, with its .jsonl and its frames")
    frames = next(
        (one for one in [folder / "train_300k", *sorted(folder.rglob("train_300k"))] if one.is_dir()), None
    )
    if frames is None or not frames.resolve().is_relative_to(media.resolve()):
        raise ConfigError(f"{folder} needs its frames in train_300k, below the media folder {media}")
    base = frames.resolve().relative_to(media.resolve())
    sources = []
    for name, file in _LLAVAHOUND:
        paths = sorted(folder.rglob(file))
        if paths and (not only or name in only):
            make = _Videos(media, base, name)
            sources.append(Source(name, "llavahound", "video", open_table(str(paths[0])), make))
    return sources


@dataclass(frozen=True, slots=True)
class _Videos:
    """Makes pairs of videos whose frames lie in folders."""

    media: Path
    base: Path
    dataset: str

    def __call__(self, row: Any, where: str) -> tuple[Content, Content]:
        try:
            asked, told = (_bare_turn(turn["value"]) for turn in row["conversations"][:2])
            video = str(row["video"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"{where}: needs video, and conversations of two turns with `value`") from error
        frames = self._frames(video, where)
        if self.dataset == "video_caption_300k":
            return Content(asked, (), frames), Content(told)
        if self.dataset == "video_qa_240k":
            return Content(f"{_QA_PROMPT} {asked}", (), frames), Content(told)
        instruction = INSTRUCTIONS["clip"]
        return Content(f"{instruction.query} {told}"), Content(instruction.document, (), frames)

    def _frames(self, video: str, where: str) -> tuple[str, ...]:
        folder = self.media / self.base / video
        if not folder.resolve().is_relative_to(self.media.resolve()):
            raise RecordError(f"{where}.video: {video!r} leads out of the media folder")
        names = sorted((one.name for one in folder.glob("*") if one.is_file()), key=_natural)
        if not names:
            raise RecordError(f"{where}.video: no frames in {self.base / video}")
        at = np.linspace(0, len(names) - 1, min(FRAMES, len(names)), dtype=int)
        return tuple((self.base / video / names[number]).as_posix() for number in at)


def _bare_turn(text: str) -> str:
    """Returns a turn without its placeholder."""
    return text.replace("<video>", "").strip()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
