"""PageImages: pages and clips as pictures, for models that look at what was found.

A page is a part of a PDF, and frameworks hand pictures on by path: so it is rendered once, into a folder,
under a name that is the digest of its content. A file that is gone or has changed since it was indexed is not
shown, rendered before or not: the page that was found is no more. The folder is kept to a size: what was not
asked for longest goes first, and is rendered again when it is asked for.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ume_r1_rag.errors import ConfigError, FileGone, InputError
from ume_r1_rag.template import PRESETS

if TYPE_CHECKING:
    from PIL.Image import Image

    from ume_r1_rag.types import Document

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "UME_R1_PAGE_IMAGES"
"""The environment variable that names the folder."""

MAX_BYTES: Final = 1 << 30
"""What a folder holds at most: some 5,000 pages."""

_NAME = re.compile(r"[0-9a-f]{40}\.(png|jpg)")
_SLACK = 16
"""After a sixteenth of what a folder holds was written, it is looked at again."""

_WRITTEN: Counter[str] = Counter()
"""Bytes that this process has written into each folder since it looked at it last."""


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
    from ume_r1_rag.ingest.opened import state_of

    if not _is_read(payload):
        return True
    digest = str(payload["ume_content_hash"]).partition(";")[0]
    places = (path_of(str(payload.get(f"ume_{field}") or "")) for field in ("document", "uri"))
    path = next((place for place in places if Path(place).is_absolute() and Path(place).is_file()), None)
    try:
        return path is not None and _known_digest(path, state_of(path)) == digest
    except OSError:
        return False


def whole_file(payload: Mapping[str, Any]) -> str:
    """Returns the path of a stored picture or clip.

    Raises:
        FileGone: it is not there any more.
        InputError: it has changed since it was indexed.
    """
    from ume_r1_rag.ingest.files import path_of

    uri = str(payload.get("ume_uri") or "")
    path = path_of(uri)
    if not os.path.isfile(path):
        raise FileGone(f"the file {uri!r} is not there any more")
    if not is_unchanged(payload):
        raise InputError(f"the file {uri!r} has changed since it was indexed: index it again")
    return path


def _is_read(payload: Mapping[str, Any]) -> bool:
    """Returns whether a stored point was read from a file by this version."""
    from ume_r1_rag.ingest.opened import READER

    fields = str(payload.get("ume_content_hash") or "").split(";")[1:]
    return f"r{READER}" in {field.partition("=")[0] for field in fields}


@lru_cache(maxsize=1 << 14)
def _known_digest(path: str, state: tuple[int, int, int]) -> str:  # noqa: ARG001 -- it tells versions apart
    from ume_r1_rag.ingest.opened import digest_of

    return digest_of(path)


class PageImages:
    """A folder of rendered pages. Whoever deletes files in it loses nothing.

    Attributes:
        folder: the folder, made when it is first needed, for its owner alone.
        max_pixels: most pixels of a page.
        max_bytes: what the folder holds at most, but for a sixteenth; only files of ours are counted.
    """

    def __init__(
        self, folder: str | Path | None = None, max_pixels: int | None = None, max_bytes: int = MAX_BYTES
    ) -> None:
        """Names the folder.

        Args:
            folder: see :func:`default_folder`.
            max_pixels: of a rendered page; the ``serving`` preset's for an image by default.
            max_bytes: what the folder holds at most.

        Raises:
            ConfigError: ``max_pixels`` or ``max_bytes`` is not positive.
        """
        for name, value in (("max_pixels", max_pixels), ("max_bytes", max_bytes)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: give a positive number")
        self.max_bytes = max_bytes
        self.folder = default_folder() if folder is None else Path(folder)
        self.max_pixels = max_pixels or PRESETS["serving"].image_limits.max_pixels

    def of_document(self, document: Document) -> Path:
        """Returns the file of a page that was rendered already, its document's picture."""
        target = self._target(document.content_hash or document.key)
        if not _used(target):
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
        if not (is_unchanged(payload) and _used(target)):
            self._write(self._drawn(payload), target)
        return target

    def image(self, payload: Mapping[str, Any]) -> Image:
        """Returns a stored page as a picture, from its file or rendered now; kept if that is possible.

        Raises:
            FileGone: the PDF is gone.
            InputError: the PDF has changed since it was indexed, or is broken.
        """
        from PIL import Image

        if not _is_read(payload):  # somebody's own page, of whose content nothing is known
            return self._drawn(payload)
        try:
            with Image.open(self.of_payload(payload)) as file:
                file.load()
                return file.copy()
        except _FolderError as error:
            logger.debug("%s", error)
            return self._drawn(payload)

    def _drawn(self, payload: Mapping[str, Any]) -> Image:
        from ume_r1_rag.ingest import reread
        from ume_r1_rag.ingest.files import path_of
        from ume_r1_rag.media import PdfPages

        if _is_read(payload):
            found: Any = reread(payload, max_page_pixels=self.max_pixels).input.images[0]
            page: Image = found
            return page
        with PdfPages(path_of(str(payload.get("ume_uri") or ""))) as pdf:
            return pdf.render(int(payload.get("ume_page") or 1), self.max_pixels)

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
        if not _used(target):
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
            raise _FolderError(
                f"the folder of page pictures {str(self.folder)!r} cannot be written ({error.strerror}): "
                f"name another one, or set {FOLDER_VARIABLE}"
            ) from error
        place = str(self.folder)
        fresh = place not in _WRITTEN
        _WRITTEN[place] += len(data)
        if fresh or _WRITTEN[place] > self.max_bytes // _SLACK:
            _WRITTEN[place] = 0
            self._trim(target)

    def _trim(self, kept: Path) -> None:
        """Deletes what was not asked for longest, until the rest is within the limit; never ``kept``."""
        files: list[tuple[float, int, Path]] = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.name != kept.name:
                    with suppress(OSError):  # another process was faster
                        state = entry.stat()
                        files.append((state.st_mtime, state.st_size, Path(entry.path)))
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            excess -= size
            with suppress(OSError):
                path.unlink()


class _FolderError(InputError):
    """The folder cannot be written."""


def _used(path: Path) -> bool:
    """Returns whether a file is there, and notes that it was asked for."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # it is another user's
        return path.is_file()
    return True
