"""What the teacher is asked, and how its answer becomes an assistant's turn.

The prompt is the paper's, appendix D, byte for byte. It says nothing of tags: the paper's teacher,
GLM-4.1V-Thinking, writes them by itself. Departures: the frames of a video go as pictures in their order,
for the protocol has no videos (the teacher of figure 7 saw "multiple images", too); the blank picture that a
text alone carries in the records is not sent; the boxes that GLM leaves in summaries are taken out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from ume_r1_rag.template import GEN_MARKER, THINK_CLOSE, THINK_OPEN
from ume_r1_trainer.data.record import Content
from ume_r1_trainer.endpoint import Answer, user_message

ANNOTATION_PROMPT: Final = (
    "The above input is a query/candidate for retrieval. Carefully examine and analyze the above input "
    "(which may include text, images, videos, or any combination). Identify and describe the key "
    "elements present in the input, such as the main topic, important entities, relationships, context, "
    "and any notable features or details that contribute to the overall meaning. Finally, synthesize "
    "your analysis and reflection into a single word or a concise sentence that best captures the "
    "essence of the input for retrieval purposes. If the input is a phrase or word, the summary is that "
    "word itself."
)

FORMAT_HINT: Final = (
    "Write your analysis between <think> and </think>, and then the single word or concise sentence between "
    "<answer> and </answer>. Write nothing else."
)
"""Ours, for a teacher that does not write the tags by itself."""

_ANSWER_OPEN, _ANSWER_CLOSE = "<answer>", "</answer>"
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")


def ask_teacher(content: Content, media: Path, *, hint: bool = False) -> list[dict[str, Any]]:
    """Returns the messages that ask for the reasoning and the summary of one side.

    Args:
        content: of the side.
        media: where its paths start.
        hint: say which tags are wanted.

    Raises:
        InputError: a picture cannot be read.
    """
    images = [media / path for path in (*content.images, *content.frames)]
    text = f"{content.text}\n\n{ANNOTATION_PROMPT}" if content.text else ANNOTATION_PROMPT
    told = [{"role": "system", "content": FORMAT_HINT}] if hint else []
    return [*told, user_message(text, images)]


def to_completion(answer: Answer) -> str:
    """Returns a teacher's answer as an assistant's turn, ``<gen_emb>`` at its end.

    An answer of another form stays as it is, for the filter to count.
    """
    text = _BOX.sub("", answer.text).strip()
    if answer.reasoning and THINK_OPEN not in text:
        summary = text if _ANSWER_OPEN in text else f"{_ANSWER_OPEN}{text}"
        text = f"{THINK_OPEN}{answer.reasoning.strip()}{THINK_CLOSE}{summary}"
    text = text.removesuffix(_ANSWER_CLOSE).rstrip()
    return f"{text}\n{GEN_MARKER}"
