"""Which split a content belongs to: a function of what it shows, never of a seed."""

from __future__ import annotations

import hashlib
import random
from typing import Final

from ume_r1_rag.errors import InputError

SPLITS: Final = ("train", "dev", "test", "demo")
_BOUNDS: Final = (("train", 0.80), ("dev", 0.85), ("test", 0.97), ("demo", 1.0))


class WorldError(InputError):
    """A world cannot be made, or what was read is not one."""


def _digest(*parts: object) -> int:
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split_of(kind: str, key: str) -> str:
    """Returns the split of a content by the hash of its canonical key.

    Args:
        kind: which space the key is from, such as ``"picture"``.
        key: the canonical wording of the content.
    """
    share = _digest(kind, key) / 2**64
    return next(name for name, bound in _BOUNDS if share < bound)


def check_split(split: str) -> str:
    """Returns the split's name.

    Raises:
        WorldError: there is no such split.
    """
    if split not in SPLITS:
        raise WorldError(f"split={split!r} is none: choose one of {', '.join(SPLITS)}")
    return split


def make_rng(*parts: object) -> random.Random:
    """Returns a generator that depends on the parts alone."""
    return random.Random(_digest(*parts))
