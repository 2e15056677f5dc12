"""PageImages: pages and clips as picture files, for models that look at what was found.

A page is a part of a PDF, and frameworks hand pictures on by path: so it is rendered once, into a folder,
under a name that is the digest of its content. A PDF that is gone or has changed since it was indexed is not
shown, rendered before or not: the page that was found is no more.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.template import PRESETS

if TYPE_CHECKING:
    from PIL.Image import Image

    from ume_r1_rag.types import Document

FOLDER_VARIABLE = "UME_R1_PAGE_IMAGES"
"""The environment variable that names the folder."""


def default_folder() -> Path:
    """Returns the folder if none is named: ``UME_R1_PAGE_IMAGES``, else in the user's cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ume-r1" / "pages"


def is_unchanged(payload: Mapping[str, Any]) -> bool:
    """Returns whether the file of a stored point is there and holds what it held when it was indexed.

    Its bytes are read once for each version of it. Of a point that was not read from a file, nothing is known
    against it.
    """
    from ume_r1_rag.ingest.files import path_of
    from ume_r1_rag.ingest.opened import READER, state_of

    digest, *fields = str(payload.get("ume_content_hash") or "").split(";")
    if f"r{READER}" not in {field.partition("=")[0] for field in fields}:
        return True
    places = (path_of(str(payload.get(f"ume_{field}") or "")) for field in ("document", "uri"))
    path = next((place for place in places if Path(place).is_absolute() and Path(place).is_file()), None)
    try:
        return path is not None and _known_digest(path, state_of(path)) == digest
    except OSError:
        return False


@lru_cache(maxsize=1 << 14)
def _known_digest(path: str, state: tuple[int, int, int]) -> str:  # noqa: ARG001 -- it tells versions apart
    from ume_r1_rag.ingest.opened import digest_of

    return digest_of(path)


class PageImages:
    """A folder of rendered pages. It grows with what is asked for; whoever deletes files in it loses nothing.

    Attributes:
        folder: the folder, made when it is first needed, for its owner alone.
        max_pixels: most pixels of a page.
    """

    def __init__(self, folder: str | Path | None = None, max_pixels: int | None = None) -> None:
        """Names the folder.

        Args:
            folder: see :func:`default_folder`.
            max_pixels: of a rendered page; the ``serving`` preset's for an image by default.

        Raises:
            ConfigError: ``max_pixels`` is not positive.
        """
        if max_pixels is not None and max_pixels < 1:
            raise ConfigError(f"max_pixels={max_pixels}: give a positive number")
        self.folder = default_folder() if folder is None else Path(folder)
        self.max_pixels = max_pixels or PRESETS["serving"].image_limits.max_pixels

    def of_document(self, document: Document) -> Path:
        """Returns the file of a page that was rendered already, its document's picture."""
        target = self._target(document.content_hash or document.key)
        if not target.is_file():
            self._write(document.input.images[0], target)
        return target

    def of_payload(self, payload: Mapping[str, Any]) -> Path:
        """Returns the file of a stored page, rendered now if it was not before.

        Raises:
            FileGone: the PDF is gone.
            InputError: the PDF has changed since it was indexed, or is broken.
        """
        target = self._target(str(payload.get("ume_content_hash") or ""))
        # Read again, a file that is not as it was has the right error.
        if not (target.is_file() and is_unchanged(payload)):
            from ume_r1_rag.ingest import reread

            self._write(reread(payload, max_page_pixels=self.max_pixels).input.images[0], target)
        return target

    def of_thumbnail(self, payload: Mapping[str, Any]) -> Path:
        """Returns the stored preview of a point as a file: of a clip its middle frame.

        Raises:
            InputError: there is none.
        """
        from ume_r1_rag.index.payload import thumbnail

        data = thumbnail(payload)
        if data is None:
            raise InputError("no preview is stored of it")
        target = self.folder / f"{hashlib.sha256(data).hexdigest()[:40]}.jpg"
        if not target.is_file():
            self._replace(target, data)
        return target

    def _target(self, content: str) -> Path:
        name = hashlib.sha256(f"{content}\n{self.max_pixels}".encode()).hexdigest()[:40]
        return self.folder / f"{name}.png"

    def _write(self, image: Any, target: Path) -> None:
        from io import BytesIO

        shown: Image = image
        buffer = BytesIO()
        shown.save(buffer, "PNG", compress_level=3)
        self._replace(target, buffer.getvalue())

    def _replace(self, target: Path, data: bytes) -> None:
        """Writes a file as a whole or not at all, whoever else writes it."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                file.write(data)
            Path(file.name).replace(target)
        except OSError as error:
            raise InputError(
                f"the folder of page pictures {str(self.folder)!r} cannot be written ({error.strerror}): "
                f"name another one, or set {FOLDER_VARIABLE}"
            ) from error
