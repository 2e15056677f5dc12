"""Pages: what a model is shown of a corpus, as picture files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ume_r1_bench.visdoc.corpus import Corpus
from ume_r1_rag.errors import InputError

PIXELS = 1_003_520
"""Of a rendered page: as many as the ``serving`` preset gives a model."""


class Pages:
    """Pages of a corpus by id."""

    def __init__(self, corpus: Corpus, folder: Path, pixels: int = PIXELS) -> None:
        """Takes a folder for pages that are rendered; each is, once.

        Args:
            corpus: whose pages.
            folder: where rendered pages are kept.
            pixels: most pixels of one. Pages that are pictures are shown as they are.
        """
        self._pictures = {one.id: one for one in corpus.pictures}
        self._root, self._pdfs = corpus.root, corpus.pdfs
        self._folder, self._pixels = folder, pixels
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, page: str) -> Path:
        """Returns the picture of a page.

        Raises:
            InputError: it cannot be rendered, or is none of the corpus.
        """
        if page in self._pictures:
            return self._pictures[page].image
        name, _, number = page.rpartition("#page=")
        if name not in self._pdfs:
            raise InputError(f"{page!r} is no page of this corpus: index it again")
        from ume_r1_rag.media import PdfPages

        path = self._root / name
        state = path.stat()
        mark = f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0{number}\0{self._pixels}"
        kept = self._folder / f"{hashlib.sha256(mark.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.png"
        if not kept.is_file():
            with PdfPages(path) as pdf:
                picture = pdf.render(int(number), self._pixels)
            half = kept.with_suffix(".part")
            picture.save(half, "PNG", compress_level=1)
            half.replace(kept)  # a run that is killed leaves no half picture behind
        return kept

    def told(self, page: str) -> str:
        """Returns what a page is called for a model."""
        picture = self._pictures.get(page)
        if picture is not None:
            number = "" if picture.number is None else f", page {picture.number}"
            return f"{Path(picture.document).name}{number}"
        name, _, number = page.rpartition("#page=")
        return f"{Path(name).name}, page {number}"
