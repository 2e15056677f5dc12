"""Text on a terminal: harmless, aligned, cut to its width."""

from __future__ import annotations

import json
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from ume_r1_rag.describe import CONTROLS, printable

WIDTH = 100
"""Columns where the output is no terminal."""

Align = Literal["<", ">"]


def clean(text: Any, lines: bool = False) -> str:
    """Returns untrusted text without control characters, on one line unless ``lines`` is set.

    Names of files and what a model wrote are shown through this alone: an escape sequence in them would
    otherwise reach the terminal.
    """
    bare = printable(str(text).replace("\t", " ").replace("\r\n", "\n").replace("\r", "\n"))
    return bare.strip() if lines else " ".join(bare.split())


def to_json(value: Any, indent: int | None = 2) -> str:
    """Returns JSON that is harmless on a terminal too."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def columns() -> int:
    """Returns the terminal's width."""
    return max(60, shutil.get_terminal_size((WIDTH, 24)).columns)


def width(text: str) -> int:
    """Returns how many columns a text takes: wide letters two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def fit(text: str, most: int) -> str:
    """Returns a text cut to ``most`` columns, with an ellipsis where something was cut."""
    if width(text) <= most:
        return text
    while text and width(text) > most - 1:
        text = text[:-1]
    return f"{text.rstrip()}…"


def pad(text: str, size: int, align: Align = "<") -> str:
    """Returns a text filled up with spaces to ``size`` columns."""
    gap = " " * (size - width(text))
    return gap + text if align == ">" else text + gap


def table(header: Sequence[str], rows: Sequence[Sequence[str]], aligns: Sequence[Align], most: int) -> str:
    """Returns aligned columns, at most ``most`` wide altogether; the last one gives way.

    Args:
        header: of the columns.
        rows: cells that are clean already.
        aligns: of the columns.
        most: width of a line.
    """
    lines = [header, *rows]
    sizes = [max(width(line[at]) for line in lines) for at in range(len(header))]
    sizes[-1] = max(8, min(sizes[-1], most - sum(sizes[:-1]) - 2 * (len(sizes) - 1)))
    return "\n".join(
        "  ".join(
            pad(fit(cell, size), size, align) for cell, size, align in zip(line, sizes, aligns, strict=True)
        ).rstrip()
        for line in lines
    )


def wrap(text: str, indent: str, most: int) -> str:
    """Returns a text folded into an indented block; its own line breaks stay."""
    folded = (
        textwrap.wrap(line, most, initial_indent=indent, subsequent_indent=indent) or [""]
        for line in text.split("\n")
    )
    return "\n".join(line for lines in folded for line in lines)
