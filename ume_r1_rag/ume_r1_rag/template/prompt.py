"""The official texts of UME-R1, byte for byte.

Source: UME-R1 release, ``README.md``, ``demo/*.py`` and
``src/eval/VLM2Vec/src/data/collator/eval_collator.py``; paper section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

DISC_MARKER = "<disc_emb>"
GEN_MARKER = "<gen_emb>"

EMBED_PROMPT = (
    "Represent the above input text, images, videos, or any combination of the three as embeddings. "
    "First output the thinking process in <think> </think> tags and then summarize the entire input "
    "in a word or sentence. Finally, use the <gen_emb> tag to represent the entire input."
)

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
ANSWER_OPEN = "<answer>"

NO_THINK_COMPLETION = "<think></think><answer>\n<gen_emb>"
"""Teacher-forced after the prompt for ``think="none"``."""


def user_text(text: str) -> str:
    r"""Returns the user turn's text after the visuals: ``{text}\\n<disc_emb>\\n{P}``."""
    return f"{text}\n{DISC_MARKER}\n{EMBED_PROMPT}"


def completion_text(reasoning: str, summary: str) -> str:
    """Returns the assistant turn as the SFT data writes it; ``<answer>`` is never closed."""
    return f"{THINK_OPEN}{reasoning}{THINK_CLOSE}{ANSWER_OPEN}{summary}\n{GEN_MARKER}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """The instruction pair of one kind of retrieval, as MMEB-V2 words it.

    Attributes:
        query: put before the query's text.
        document: the whole text of a document that has none of its own.
        source: the MMEB-V2 task that the wording comes from.
    """

    query: str
    document: str
    source: str


INSTRUCTIONS: dict[str, Instruction] = {
    "image": Instruction(
        "Find me an everyday image that matches the given caption:",
        "Represent the given image.",
        "MSCOCO_t2i",
    ),
    "page": Instruction(
        "Find a document image that matches the given query:",
        "Understand the content of the provided document image.",
        "ViDoRe_docvqa",
    ),
    "clip": Instruction(
        "Find a video that contains the following visual content:",
        "Understand the content of the provided video.",
        "MSR-VTT",
    ),
    "product": Instruction(
        "Find an image to match the fashion image and style note:", "Represent the given image.", "FashionIQ"
    ),
    "edit": Instruction(
        "Given an image, find a similar everyday image with the described changes:",
        "Represent the given image.",
        "CIRR",
    ),
    "answer": Instruction("Represent the given image with the following question:", "", "OK-VQA"),
}
"""Instruction presets per kind of query. A document that is text alone carries no instruction."""


def instruct(instruction: str | None, text: str | None) -> str:
    """Returns ``"{instruction} {text}"``, with whatever of the two there is, stripped."""
    return " ".join(part.strip() for part in (instruction, text) if part and part.strip())
