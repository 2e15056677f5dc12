"""Pages of a PDF as pictures and as text, through PDFium."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ume_r1_rag.describe import describe
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.media.limits import LIMITS

if TYPE_CHECKING:
    from types import TracebackType

    from PIL.Image import Image

# PDFium may be in use by one thread of the process at a time, whatever the documents. Re-entrant, because
# the garbage collector may close a forgotten document in a thread that holds it.
_PDFIUM = threading.RLock()

_MAX_DPI = 300
_POINTS_PER_INCH = 72

# What PDFium puts where a word is hyphenated at the end of a line, and for glyphs without a character.
_NO_TEXT = dict.fromkeys(map(ord, "\x00\x02\ufffe\uffff"))


class PdfPages:
    """An open PDF. Pages are numbered from 1, as in ``Document.page``. Safe to use from several threads.

    Example:
        with PdfPages("report.pdf") as pdf:
            first = pdf.render(1, max_pixels=1_003_520)
    """

    def __init__(self, path: str | Path) -> None:
        """Opens a file.

        Raises:
            InputError: it does not exist, is encrypted, is no PDF or has no pages.
        """
        import pypdfium2

        self._pdf: Any = None
        self._name = describe(Path(path))
        if not os.path.isfile(path):
            raise InputError(f"PDF {self._name} does not exist or is no file: check the path")
        with _PDFIUM:
            # PDFium sets no error for a file without pages: it would be the last file's, e.g. a password.
            pypdfium2.raw.FPDF_LoadMemDocument(b"", 0, None)
            try:
                self._pdf = pypdfium2.PdfDocument(Path(path))
                self._pdf.init_forms()  # before any page: what was filled in is then rendered, too
                self._count = len(self._pdf)
            except (pypdfium2.PdfiumError, OSError) as error:
                if getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD:
                    raise InputError(
                        f"PDF {self._name} is encrypted: save it without a password first"
                    ) from error
                raise InputError(
                    f"PDF {self._name} cannot be opened ({str(error)[:120]}): it is truncated, corrupt "
                    "or no PDF"
                ) from error

    def __len__(self) -> int:
        """Returns the number of pages."""
        return self._count

    def render(self, page: int, max_pixels: int) -> Image:
        """Returns a page as RGB on white, as large as ``max_pixels`` allows, at most at 300 dpi.

        Width and height are rounded to whole pixels and their product never exceeds ``max_pixels``; a
        square page with 50,176 is exactly 224 x 224. Annotations and form fields are drawn.

        Args:
            page: number of the page, from 1.
            max_pixels: most pixels of the picture.

        Raises:
            ConfigError: ``max_pixels`` is not positive.
            InputError: there is no such page, it cannot be rendered, or is too elongated.
        """
        import pypdfium2
        from pypdfium2 import raw

        if max_pixels < 1:
            raise ConfigError(f"max_pixels={max_pixels} is no size: give a positive number")
        with _PDFIUM, self._page(page) as sheet:
            points = sheet.get_width(), sheet.get_height()
            if max(points) > LIMITS.max_aspect * max(min(points), 1e-3):
                raise InputError(
                    f"page {page} of PDF {self._name} is {points[0]:g}x{points[1]:g} points, more elongated "
                    f"than {LIMITS.max_aspect:g}:1, which the model's processor refuses: cut it into several"
                )
            width, height = _pixel_size(*points, max_pixels)
            # Not PdfPage.render: it rounds both sides up, which breaks the limit and the 224 x 224.
            bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
            try:
                bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
                flags = raw.FPDF_ANNOT
                raw.FPDF_RenderPageBitmap(bitmap, sheet, 0, 0, width, height, 0, flags)
                if self._pdf.formenv:
                    raw.FPDF_FFLDraw(self._pdf.formenv, bitmap, sheet, 0, 0, width, height, 0, flags)
                image: Image = bitmap.to_pil()
                if image.mode == "RGB" and not image.readonly:  # read, and not mapped onto the bitmap
                    return image
                return image.convert("RGB")
            finally:
                bitmap.close()

    def text(self, page: int) -> str:
        """Returns the text layer of a page, lines ended by a newline; empty if it has none.

        Raises:
            InputError: there is no such page, or it cannot be read.
        """
        with _PDFIUM, self._page(page) as sheet:
            layer = sheet.get_textpage()
            try:
                found: str = layer.get_text_bounded()
            finally:
                layer.close()
        return found.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_TEXT).strip()

    def close(self) -> None:
        """Closes the file; may be called again."""
        with _PDFIUM:
            if self._pdf is not None:
                self._pdf.close()
                self._pdf = None

    def _page(self, page: int) -> _Sheet:
        if self._pdf is None:
            raise InputError(f"PDF {self._name} is closed: use it inside its with block")
        if not 1 <= page <= self._count:
            raise InputError(f"PDF {self._name} has no page {page}: it has pages 1 to {self._count}")
        return _Sheet(self._pdf, page, self._name)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self.close()

    def __del__(self) -> None:
        """Closes a forgotten file under the lock, which pypdfium2's own finalizer would not take."""
        if getattr(self, "_pdf", None) is not None:
            self.close()


class _Sheet:
    """One loaded page; PDFium's errors become ours, and it is closed before the lock is given back."""

    def __init__(self, pdf: Any, page: int, name: str) -> None:
        self._pdf, self._number, self._name = pdf, page, name
        self._sheet: Any = None

    def __enter__(self) -> Any:
        import pypdfium2

        try:
            self._sheet = self._pdf[self._number - 1]
        except pypdfium2.PdfiumError as error:
            raise self._broken(error) from error
        return self._sheet

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import pypdfium2

        self._sheet.close()
        if isinstance(error, pypdfium2.PdfiumError):
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> InputError:
        return InputError(
            f"page {self._number} of PDF {self._name} cannot be read ({str(error)[:120]}): the file is "
            "damaged, write it again or skip the page"
        )


def _pixel_size(width_pt: float, height_pt: float, max_pixels: int) -> tuple[int, int]:
    """Returns width and height in pixels for a page measured in points."""
    width_pt, height_pt = max(width_pt, 1e-3), max(height_pt, 1e-3)
    scale = min(math.sqrt(max_pixels / (width_pt * height_pt)), _MAX_DPI / _POINTS_PER_INCH)
    width, height = max(1, round(width_pt * scale)), max(1, round(height_pt * scale))
    if width * height > max_pixels:  # both were rounded up; rounding both down always fits
        width, height = max(1, math.floor(width_pt * scale)), max(1, math.floor(height_pt * scale))
    return min(width, max_pixels), min(height, max(1, max_pixels // width))
