"""Frames of a clip: which files of a folder they are, and which of them are taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
_DIGITS: Final = re.compile(r"([0-9]+)")

T = TypeVar("T")


def natural_key(name: str) -> list[int | str]:
    """Returns a key by which ``frame_10`` comes after ``frame_9``."""
    parts = _DIGITS.split(name)
    return [int(part) if number % 2 else part.lower() for number, part in enumerate(parts)]


def list_frames(folder: Path) -> tuple[Path, ...]:
    """Returns a folder's pictures in natural order; none where there is no such folder."""
    if not folder.is_dir():
        return ()
    names = [entry.name for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES]
    return tuple(folder / name for name in sorted(names, key=natural_key))


def sample_frames(frames: Sequence[T], count: int | None) -> tuple[T, ...]:
    """Returns ``count`` frames, evenly spaced from first to last; all if there are fewer, or for None."""
    if count is None or len(frames) < count:
        return tuple(frames)
    import numpy as np

    return tuple(frames[number] for number in np.linspace(0, len(frames) - 1, count, dtype=int))
