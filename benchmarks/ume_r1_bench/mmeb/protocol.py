"""The protocols by which MMEB-V2 numbers were made; results of different ones must not be compared.

The evaluator changed twice: in what the page tasks hold, and in whether ViDoRe's parser gives instructions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.task import Hub, Task

_TOKEN: Final = 28 * 28


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol.

    Attributes:
        name: how it is asked for.
        pages: which data the page tasks of ViDoSeek and MMLongBench hold.
        vidore_instructions: whether the ``vidore`` parser's queries and pages have instructions; those of
            ``visrag`` always have.
        num_frames: frames of a clip, evenly spaced over those there are.
        min_pixels: least pixels of an image or frame.
        max_pixels: most pixels of an image or frame.
        blank_image: whether an input of text alone gets a white image of 28 by 28 pixels.
        preset: the encoder's preset that prompts and scales in this way; None if the protocol's own models
            are prompted otherwise, so that its numbers compare with other models' only.
        old_data: whether rows come from where they were in 2025.
    """

    name: str
    pages: Literal["buggy", "fixed"]
    vidore_instructions: bool
    num_frames: int
    min_pixels: int
    max_pixels: int
    blank_image: bool
    preset: str | None
    old_data: bool

    def stamp(self) -> dict[str, Any]:
        """Returns all of it, as it goes into every result."""
        return asdict(self)

    def hub(self, task: Task) -> Hub:
        """Returns where a task's rows come from."""
        if task.hub_old is None:
            return task.hub
        old = self.pages == "buggy" if task.is_page_task else self.old_data
        return task.hub_old if old else task.hub

    def instructions(self, task: Task) -> tuple[str, str]:
        """Returns the instructions of a task's queries and of its pictures, pages or clips."""
        if task.parser == "vidore" and not self.vidore_instructions:
            return "", ""
        return task.instruction_query, task.instruction_target or ""


_V201: Final = Protocol(
    name="v2.0.1",
    pages="buggy",
    vidore_instructions=False,
    num_frames=8,
    min_pixels=4 * _TOKEN,
    max_pixels=1280 * _TOKEN,
    blank_image=False,
    preset=None,
    old_data=False,
)
_V21: Final = Protocol(
    name="v2.1",
    pages="fixed",
    vidore_instructions=True,
    num_frames=8,
    min_pixels=4 * _TOKEN,
    max_pixels=1280 * _TOKEN,
    blank_image=False,
    preset=None,
    old_data=False,
)
_PAPER: Final = Protocol(
    name="ume-r1-paper",
    pages="buggy",
    vidore_instructions=False,
    num_frames=8,
    min_pixels=_TOKEN,
    max_pixels=2_359_296,
    blank_image=True,
    preset="paper",
    old_data=True,
)

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({p.name: p for p in (_V201, _V21, _PAPER)})
"""Name → protocol. Text and visuals of a query are the same in all three but for ViDoRe's instructions."""


def find_protocol(name: str) -> Protocol:
    """Returns a protocol by its name.

    Raises:
        MmebError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise MmebError(f"protocol={name!r} is unknown: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
