"""Paper: PDFs of printed pages, the size of A4, with nothing but words on them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

PAGES: Final = 10
"""Pages of a file, at most."""

_LINES: Final = 60
_WORDS: Final = 14
_SYLLABLES: Final = "ba ce di fo gu ka le mi no pu ra se ti vo zu scha len mor tin gas".split()


def write_paper(folder: Path, pages: int, seed: int) -> None:
    """Writes so many pages into as many files as that takes."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    for start in range(0, pages, PAGES):
        made = [_page(rng) for _ in range(min(PAGES, pages - start))]
        (folder / f"{start:06d}.pdf").write_bytes(_pdf(made))


def _page(rng: random.Random) -> list[str]:
    return [
        " ".join("".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(_WORDS))
        for _ in range(_LINES)
    ]


def _pdf(pages: list[list[str]]) -> bytes:
    """Returns a PDF of pages of lines, set in the reader's Helvetica."""
    numbers = range(4, 4 + 2 * len(pages), 2)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, lines in zip(numbers, pages, strict=True):
        shown = "".join(f"({line})'\n" for line in lines)
        stream = f"BT /F1 9 Tf 12 TL 40 800 Td\n{shown}ET"
        font = "/Resources<</Font<</F1 3 0 R>>>>"
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {number + 1} 0 R{font}>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    body, offsets = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n".encode("ascii")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode("ascii")
