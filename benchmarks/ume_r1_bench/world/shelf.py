"""Where contents lie as files: each is drawn and written once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from ume_r1_bench.world.clip import Clip
from ume_r1_bench.world.codec import decode_mp4, decode_pdf, encode_mp4, encode_pdf, encode_png
from ume_r1_bench.world.families import Media
from ume_r1_bench.world.film import draw_clip
from ume_r1_bench.world.page import Page, Part
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.scene import Scene
from ume_r1_bench.world.sheet import SIZE as PAGE_SIZE
from ume_r1_bench.world.sheet import draw_page, draw_part

BLANK: Final = "images/blank.jpg"


@dataclass(frozen=True, slots=True)
class Placed:
    """The files of one content, relative to the world's directory.

    Attributes:
        number: of the content among its kind.
        path: the PNG, PDF or MP4; None for a PDF or MP4 that was not kept.
        image: the picture, or the page as the PDF decodes to.
        frames: the clip's frames as the MP4 decodes to.
    """

    number: int
    path: str | None
    image: str | None = None
    frames: tuple[str, ...] = ()


class Shelf:
    """Draws, encodes and writes contents.

    Attributes:
        placed: content → its files.
    """

    def __init__(self, root: Path, *, keep: bool) -> None:
        """Opens a directory.

        Args:
            root: the world's directory.
            keep: whether PDF and MP4 files are kept beside what they decode to.
        """
        self.placed: dict[Media, Placed] = {}
        self._root, self._keep = root, keep
        self._numbers = {"pictures": 0, "pages": 0, "parts": 0, "clips": 0}
        for folder in ("images", *self._numbers):
            (root / folder).mkdir(parents=True, exist_ok=True)
        # Text alone carries a blank image, as the official records do.
        Image.new("RGB", (28, 28), (255, 255, 255)).save(root / BLANK, "JPEG", quality=95)

    def place(self, media: Media) -> Placed:
        """Returns the files of a content, which it writes if need be."""
        if media not in self.placed:
            if isinstance(media, Scene):
                self.placed[media] = self._place_picture(media)
            elif isinstance(media, Page):
                self.placed[media] = self._place_page(media)
            elif isinstance(media, Part):
                self.placed[media] = self._place_part(media)
            else:
                self.placed[media] = self._place_clip(media)
        return self.placed[media]

    def _next(self, folder: str) -> int:
        self._numbers[folder] += 1
        return self._numbers[folder] - 1

    def _write(self, path: str, data: bytes) -> str:
        (self._root / path).write_bytes(data)
        return path

    def _place_picture(self, scene: Scene) -> Placed:
        number = self._next("pictures")
        path = self._write(f"pictures/{number:05d}.png", encode_png(draw_scene(scene)))
        return Placed(number, path, path)

    def _place_page(self, page: Page) -> Placed:
        number = self._next("pages")
        data = encode_pdf([draw_page(page)])
        path = self._write(f"pages/{number:05d}.pdf", data) if self._keep else None
        decoded = decode_pdf(data, PAGE_SIZE)[0]
        return Placed(number, path, self._write(f"pages/{number:05d}.png", encode_png(decoded)))

    def _place_part(self, part: Part) -> Placed:
        number = self._next("parts")
        path = self._write(f"parts/{number:05d}.png", encode_png(draw_part(part)))
        return Placed(number, path, path)

    def _place_clip(self, clip: Clip) -> Placed:
        number = self._next("clips")
        data = encode_mp4(draw_clip(clip))
        path = self._write(f"clips/{number:05d}.mp4", data) if self._keep else None
        (self._root / f"clips/{number:05d}").mkdir(exist_ok=True)
        frames = [
            self._write(f"clips/{number:05d}/{index}.png", encode_png(frame))
            for index, frame in enumerate(decode_mp4(data))
        ]
        return Placed(number, path, None, tuple(frames))
