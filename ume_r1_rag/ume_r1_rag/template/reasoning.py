"""Reading a generation: its reasoning, its summary, whether its format is right."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ume_r1_rag.template.prompt import ANSWER_OPEN, GEN_MARKER, THINK_CLOSE, THINK_OPEN

_TEACHER_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The two texts of a generation; either is empty where it is missing."""

    reasoning: str
    summary: str


def parse(completion: str) -> Reasoning:
    """Returns what stands inside ``<think>`` and after ``<answer>``, also of an unfinished generation.

    The thinking ends with the first ``</think>``, or where there is none with ``<answer>``; the summary ends
    with the last ``<gen_emb>``, where the embedding is read. The boxes that the teacher of the SFT data left
    in some summaries are dropped.
    """
    head, closed, rest = completion.partition(THINK_CLOSE)
    if not closed:
        head, opened, rest = completion.partition(ANSWER_OPEN)
        rest = opened + rest
    before, opened, reasoning = head.partition(THINK_OPEN)
    if not opened:
        reasoning = before if closed else ""
    summary = rest.partition(ANSWER_OPEN)[2]
    if GEN_MARKER in summary:
        summary = summary.rpartition(GEN_MARKER)[0]
    summary = _TEACHER_BOX.sub("", summary.replace("</answer>", ""))
    return Reasoning(_without_marker(reasoning), _without_marker(summary))


def well_formed(completion: str) -> bool:
    r"""Returns whether a completion has the official format.

    The official reward (r1-train/src/open_r1) searches ``<think>.*?</think>.*?\s*<answer>.*?\s*<gen_emb>``,
    DOTALL: the four tags in this order, whatever is between them. Looking for one after the other says the
    same in linear time, where the expression takes quadratic time on a long run of spaces.
    """
    at = 0
    for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, GEN_MARKER):
        at = completion.find(tag, at)
        if at < 0:
            return False
        at += len(tag)
    return True


def think_closed(completion: str) -> bool:
    """Returns whether the thinking of a completion has ended."""
    return THINK_CLOSE in completion


def _without_marker(text: str) -> str:
    return text.replace(GEN_MARKER, "").strip()
