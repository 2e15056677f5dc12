"""What a clip shows: one thing above another, and what each of them does."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final, Literal

from ume_r1_bench.world.scene import THINGS, Thing
from ume_r1_bench.world.split import split_of

BEHAVIOURS: Final = (
    "moves left",
    "moves right",
    "rises",
    "falls",
    "grows",
    "shrinks",
    "appears",
    "vanishes",
)
Half = Literal["top", "bottom"]
HALVES: Final[tuple[Half, ...]] = ("top", "bottom")


@dataclass(frozen=True, slots=True)
class Cast:
    """The things of a clip, which differ in colour and in shape."""

    top: Thing
    bottom: Thing

    @property
    def key(self) -> str:
        """``"top red circle, bottom blue square"``."""
        return f"top {self.top.name}, bottom {self.bottom.name}"

    @property
    def split(self) -> str:
        """The split of the pair, whichever of the two is on top."""
        return split_of("cast", " | ".join(sorted((self.top.name, self.bottom.name))))


@dataclass(frozen=True, slots=True)
class Clip:
    """A cast and the behaviour of each."""

    cast: Cast
    top: str
    bottom: str

    @property
    def acts(self) -> tuple[tuple[Half, Thing, str], ...]:
        """``(half, thing, behaviour)`` from top to bottom."""
        return (("top", self.cast.top, self.top), ("bottom", self.cast.bottom, self.bottom))

    @property
    def phrases(self) -> list[str]:
        """``["red circle rises", "blue square shrinks"]`` from top to bottom."""
        return [f"{thing.name} {behaviour}" for _, thing, behaviour in self.acts]

    @property
    def key(self) -> str:
        """``"top red circle rises, bottom blue square shrinks"``."""
        return ", ".join(f"{half} {thing.name} {behaviour}" for half, thing, behaviour in self.acts)


def sample_cast(rng: random.Random, split: str) -> Cast:
    """Returns a pair of things of a split."""
    while True:
        top, bottom = rng.sample(THINGS, 2)
        cast = Cast(top, bottom)
        if top.colour != bottom.colour and top.shape != bottom.shape and cast.split == split:
            return cast


def every_clip(cast: Cast) -> list[Clip]:
    """Returns the 64 clips of a cast."""
    return [Clip(cast, top, bottom) for top in BEHAVIOURS for bottom in BEHAVIOURS]


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """Clips of one cast that differ in what one of the two does."""

    clips: tuple[Clip, ...]
    half: Half


def sample_clip_group(rng: random.Random, split: str, size: int = 4) -> ClipGroup:
    """Returns ``size`` clips that differ in one behaviour."""
    cast, half = sample_cast(rng, split), rng.choice(HALVES)
    base = Clip(cast, rng.choice(BEHAVIOURS), rng.choice(BEHAVIOURS))
    chosen = rng.sample(BEHAVIOURS, size)
    if half == "top":
        return ClipGroup(tuple(replace(base, top=behaviour) for behaviour in chosen), half)
    return ClipGroup(tuple(replace(base, bottom=behaviour) for behaviour in chosen), half)
