"""Reading a generation: its reasoning, its summary, whether its format is right."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ume_r1_rag.template.prompt import ANSWER_OPEN, GEN_MARKER, THINK_CLOSE, THINK_OPEN

# The official format reward (r1-train/src/open_r1): searched, not anchored; <answer> is never closed.
_FORMAT = re.compile(r"<think>.*?</think>.*?\s*<answer>.*?\s*<gen_emb>", re.DOTALL)
_TEACHER_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The two texts of a generation; either is empty where it is missing."""

    reasoning: str
    summary: str


def parse(completion: str) -> Reasoning:
    """Returns what stands inside ``<think>`` and after ``<answer>``, also of an unfinished generation.

    The boxes that the teacher of the SFT data left in some summaries are dropped.
    """
    completion = completion.split(GEN_MARKER, 1)[0] if completion.count(GEN_MARKER) == 1 else completion
    head, closed, rest = completion.partition(THINK_CLOSE)
    reasoning = head.partition(THINK_OPEN)[2] if THINK_OPEN in head else (head if closed else "")
    summary = rest.partition(ANSWER_OPEN)[2].replace("</answer>", "").replace(GEN_MARKER, "")
    return Reasoning(reasoning.strip(), _TEACHER_BOX.sub("", summary).strip())


def well_formed(completion: str) -> bool:
    """Returns whether a completion has the official format."""
    return _FORMAT.search(completion) is not None


def think_closed(completion: str) -> bool:
    """Returns whether the thinking of a completion has ended."""
    return THINK_CLOSE in completion
