"""Reasoner: a reasoning that comes from outside, which disc then encodes with the input.

That is the paper's "DUME+Gen" (section 4.4, Figure 4): an external model thinks and sums up, and a
discriminative model embeds the input together with what it wrote. Any object with ``name`` and ``reason``
will do; the one here asks an OpenAI-compatible endpoint. The paper does not print the prompt: ours is
UME-R1's without its marker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ume_r1_rag.errors import BackendError, InputError, UmeR1Error
from ume_r1_rag.template import parse

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput
    from ume_r1_trainer.endpoint import ChatEndpoint

PROMPT: Final = (
    "Represent the above input text, images, videos, or any combination of the three. First output the "
    "thinking process in <think> </think> tags and then summarize the entire input in a word or sentence."
)


class Reasoner(Protocol):
    """What writes reasonings."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    def reason(self, inputs: Sequence[MultimodalInput]) -> Iterator[tuple[int, str | UmeR1Error]]:
        """Yields number and reasoning of each input, in any order; an error in its place."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointReasoner:
    """A model behind an OpenAI-compatible endpoint.

    Attributes:
        endpoint: where it is; keeps its answers, if it has a cache.
        name: of the model.
        progress: what a bar is called; none if None.
    """

    endpoint: ChatEndpoint
    name: str
    progress: str | None = None

    def check(self) -> None:
        """Raises ``ServerUnavailable`` unless the model answers."""
        self.endpoint.check()

    def reason(self, inputs: Sequence[MultimodalInput]) -> Iterator[tuple[int, str | UmeR1Error]]:
        """Yields number and reasoning of each input; see ``Reasoner``."""
        from ume_r1_trainer.endpoint import user_message

        requests, numbers = [], []
        for number, one in enumerate(inputs):
            try:
                text = f"{one.text}\n{PROMPT}" if one.text else PROMPT
                requests.append([user_message(text, _pictures(one))])
                numbers.append(number)
            except (UmeR1Error, OSError) as error:
                yield number, InputError(f"its pictures cannot be sent: {error}")
        for at, answer in self.endpoint.ask_all(requests, self.progress):
            if answer.error is not None:
                yield numbers[at], BackendError(f"{self.name} gave no reasoning: {answer.error}")
            else:
                yield numbers[at], answer.text


def reasoned(given: MultimodalInput, answer: str) -> MultimodalInput:
    """Returns an input with a reasoning behind its text: thinking and summary, without their tags."""
    # Not every model writes <answer>; what follows the thinking is its summary then.
    found = parse(answer if "<answer>" in answer else answer.replace("</think>", "</think><answer>", 1))
    parts = [found.reasoning, found.summary] if found.reasoning or found.summary else [answer]
    added = "\n".join(part.strip() for part in parts if part.strip())
    return replace(given, text="\n".join(part for part in (given.text, added) if part))


def _pictures(one: MultimodalInput) -> list[Path]:
    frames = one.video if isinstance(one.video, (list, tuple)) else ()
    return [Path(source) for source in (*one.images, *frames) if isinstance(source, (str, Path))]
