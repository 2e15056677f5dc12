"""Files of a benchmark directory: pictures, frames, and tables as the hub's repositories hold them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ume_r1_bench.mmeb.layout import KINDS
from ume_r1_bench.mmeb.task import Hub, Task
from ume_r1_bench.world.clip import Clip
from ume_r1_bench.world.codec import decode_pdf, encode_pdf, encode_png
from ume_r1_bench.world.film import draw_clip
from ume_r1_bench.world.page import Page
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.scene import Scene
from ume_r1_bench.world.sheet import SIZE as PAGE_SIZE
from ume_r1_bench.world.sheet import draw_page

if TYPE_CHECKING:
    from PIL import Image

Layout = Literal["new", "old"]
SAVED: Final = 64
"""Frames that are kept of a video at most."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is written of a task.

    Attributes:
        rows: queries.
        pool: candidates of a query, about.
    """

    rows: int
    pool: int


def page_png(page: Page) -> bytes:
    """Returns a page as nano knows pages: drawn, put into a PDF and rasterised again."""
    return encode_png(decode_pdf(encode_pdf([draw_page(page)]), PAGE_SIZE)[0])


def spread(frames: Sequence[Image.Image], most: int = SAVED) -> list[Image.Image]:
    """Returns at most so many frames, taken as the evaluator takes them from a video."""
    total = len(frames)
    if total <= most:
        return list(frames)
    return [frames[number * total // most] for number in range(most)]


class Folder:
    """A benchmark directory in the making.

    Attributes:
        root: the directory.
        layout: today's, or that of 2025.
        files: pictures and frames written.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        """Takes the directory; it is made with the first file."""
        self.root, self.layout = root, layout
        self.files = 0
        self._written: set[Path] = set()
        self._configs: dict[Path, dict[str, tuple[str, str]]] = {}

    def _write(self, path: Path, data: bytes) -> None:
        if path not in self._written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._written.add(path)
            self.files += 1

    def media(self, task: Task) -> Path:
        """Returns the folder of a task's pictures, pages or frames."""
        root = self.root / task.root
        if self.layout == "new":
            return root
        if task.modality == "image":
            return root / "MMEB"
        if task.modality == "visdoc":
            return self.root / "visdoc-tasks" / task.root
        return root / "frames" if task.group == "RET" else root

    def picture(self, task: Task, name: str, shown: Scene | Page, take: int = 0) -> str:
        """Writes a picture or page of an image task, and returns its path as rows name it."""
        path = f"{task.name}/{name}.png"
        data = encode_png(draw_scene(shown, take)) if isinstance(shown, Scene) else page_png(shown)
        self._write(self.media(task) / path, data)
        return path

    def frames(
        self, folder: Path, shown: Clip | Sequence[Image.Image], pattern: str = "frame_{:04d}.jpg"
    ) -> None:
        """Writes the frames of a clip into a folder, numbered from 1 with ``frame_``, otherwise from 0."""
        images = draw_clip(shown) if isinstance(shown, Clip) else shown
        first = 1 if pattern.startswith("frame_") else 0
        for number, image in enumerate(images, first):
            self._write(folder / pattern.format(number), jpeg(image))

    def still(self, path: Path, image: Image.Image) -> None:
        """Writes one picture as JPEG."""
        self._write(path, jpeg(image))

    def page(self, path: Path, png: bytes) -> None:
        """Writes one page."""
        self._write(path, png)

    def table(self, task: Task, hub: Hub, rows: Rows, config: str | None = None) -> None:
        """Writes a table of a task as a copy of its repository holds it."""
        wanted = config or hub.config
        home = self.root / KINDS[task.modality]
        if task.modality != "image":
            home /= hub.folder
        folder = home / wanted if wanted else home / "data"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{hub.split}-00000-of-00001.parquet"
        write_parquet(folder / name, rows)
        self._configs.setdefault(home, {})[wanted or "default"] = (hub.split, f"{folder.name}/{hub.split}-*")

    def lines(self, task: Task, rows: Rows) -> None:
        """Writes a task's rows as the one file that there was in 2025."""
        path = self.root / "video-tasks" / "data" / f"{task.name.lower().replace('-', '_')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    def holds(self, task: Task, hub: Hub) -> bool:
        """Returns whether a repository was written for another task already."""
        return self.root / KINDS[task.modality] / hub.folder in self._configs

    def close(self) -> None:
        """Writes the cards by which ``datasets`` finds each configuration."""
        for home, configs in self._configs.items():
            entries = [
                {"config_name": name, "data_files": [{"split": split, "path": path}]}
                for name, (split, path) in sorted(configs.items())
            ]
            # A card's head is YAML, and JSON is YAML.
            head = json.dumps({"configs": entries}, indent=1)
            (home / "README.md").write_text(f"---\n{head}\n---\n", encoding="utf-8")


def jpeg(image: Image.Image) -> bytes:
    """Returns a picture as JPEG without loss of colour."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def write_parquet(path: Path, rows: Rows) -> None:
    """Writes rows as parquet; a column ``image`` is marked as pictures, as ``datasets`` marks them."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pylist([dict(row) for row in rows])
    if "image" in table.column_names:
        kinds = {
            "int64": {"dtype": "int64", "_type": "Value"},
            "string": {"dtype": "string", "_type": "Value"},
        }
        features = {
            field.name: {"_type": "Image"} if field.name == "image" else kinds[str(field.type)]
            for field in table.schema
        }
        # Marked or not, a column of another type than theirs is no picture to `datasets`.
        picture = pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        at = table.column_names.index("image")
        table = table.set_column(at, picture, table.column("image").cast(picture.type))
        marked = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": marked})
    parquet.write_table(table, path)
