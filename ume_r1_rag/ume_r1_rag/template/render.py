"""How an input becomes prompt token ids, so that its text can never forge a marker or a chat turn.

The checkpoint's own chat template is rendered around a placeholder. The rendered string is then cut at
every added token: those become their ids, and only the pieces between them are tokenised, by a twin of the
tokenizer that knows no added tokens. A fast tokenizer cuts at added tokens first as well, so for a text
without any the ids equal the official ones; a text that contains ``<gen_emb>`` or ``<|im_end|>`` spells it
out in ordinary tokens (a departure: the official code would take it for the real one).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import CheckpointError, MarkerMissing
from ume_r1_rag.template.prompt import DISC_MARKER, GEN_MARKER, user_text
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from collections.abc import Sequence

# Private-use characters: the stand-in for user text inside the chat template. Replaced before
# tokenising, and looked for only in our own rendering, so a user text that holds them is harmless.
_USER_TEXT = "\ue000user text\ue001"


@dataclass(frozen=True, slots=True)
class Markers:
    """Token ids of the two markers, looked up by name."""

    disc: int
    gen: int


def find_markers(tokenizer: Any, model: str = "the checkpoint") -> Markers:
    """Returns the marker ids of a tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer.
        model: what to call the checkpoint in an error.

    Raises:
        MarkerMissing: one of the two is not a single token of the vocabulary.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in (DISC_MARKER, GEN_MARKER) if name not in vocabulary]
    if missing:
        raise MarkerMissing(
            f"the tokenizer of {model} has no {' and no '.join(missing)} token: it is not a UME-R1 "
            'checkpoint; use one, or "nano"'
        )
    return Markers(vocabulary[DISC_MARKER], vocabulary[GEN_MARKER])


class PromptTokenizer:
    """Turns texts and counts of visuals into prompt token ids.

    Attributes:
        markers: ids of the two markers.
        image_id: id of the token that stands for one visual token of an image.
        video_id: the same for a video.
    """

    def __init__(self, tokenizer: Any, model: str = "the checkpoint") -> None:
        """Wraps a fast Hugging Face tokenizer that has a chat template.

        Raises:
            MarkerMissing: the tokenizer lacks a marker.
            CheckpointError: it lacks a token that stands for a visual.
        """
        from tokenizers import Tokenizer

        self.tokenizer = tokenizer
        self.markers = find_markers(tokenizer, model)
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        self._added = {token["content"]: token["id"] for token in spec["added_tokens"]}
        self._plain = Tokenizer.from_str(json.dumps({**spec, "added_tokens": [], "post_processor": None}))
        longest_first = sorted(self._added, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(re.escape(token) for token in longest_first) + ")")
        if "<|image_pad|>" not in self._added or "<|video_pad|>" not in self._added:
            raise CheckpointError(
                f"the tokenizer of {model} lacks <|image_pad|> or <|video_pad|>: pass one that reads images"
            )
        self.image_id = self._added["<|image_pad|>"]
        self.video_id = self._added["<|video_pad|>"]
        self._rendered: dict[tuple[int, int], str] = {}

    @property
    def signature(self) -> list[str]:
        """The prompt around a text: alone, with an image, with a video."""
        return [self._chat(images, videos) for images, videos in ((0, 0), (1, 0), (0, 1))]

    def prompt_ids(self, text: str, images: int = 0, videos: int = 0) -> tuple[int, ...]:
        """Returns the prompt's ids, with one pad token per visual.

        Args:
            text: the user's text, instruction included; untrusted.
            images: number of images, which come first.
            videos: number of videos.
        """
        if images or videos:
            # eval_collator.py drops the placeholders of VLM2Vec's texts and strips what is left.
            text = text.replace("<|image_pad|>", "").replace("<|video_pad|>", "").strip()
        ids: list[int] = []
        for piece in self._cut.split(self._chat(images, videos)):
            if piece in self._added:
                ids.append(self._added[piece])
            elif piece:
                ids.extend(self.plain_ids(piece.replace(_USER_TEXT, text)))
        return tuple(ids)

    def completion_ids(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a completion of our own making, its markers being real ones."""
        ids: list[int] = []
        for piece in self._cut.split(text):
            if piece in self._added:
                ids.append(self._added[piece])
            elif piece:
                ids.extend(self.plain_ids(piece))
        return tuple(ids)

    def plain_ids(self, text: str) -> list[int]:
        """Returns the ids of a text in which nothing counts as an added token."""
        # The tokenizer would panic on a lone surrogate.
        ids: list[int] = self._plain.encode(unicode_text(text), add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of generated ids, chat tokens dropped, markers kept."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def expand(
        self, ids: Sequence[int], image_tokens: Sequence[int], video_tokens: Sequence[int]
    ) -> tuple[int, ...]:
        """Returns ids in which each pad token is repeated as often as its visual has tokens.

        Args:
            ids: what ``prompt_ids`` returned.
            image_tokens: visual tokens of each image, in order.
            video_tokens: visual tokens of each video, in order.
        """
        counts = {self.image_id: iter(image_tokens), self.video_id: iter(video_tokens)}
        expanded: list[int] = []
        for token in ids:
            expanded.extend([token] * (next(counts[token]) if token in counts else 1))
        return tuple(expanded)

    def _chat(self, images: int, videos: int) -> str:
        key = (images, videos)
        if key not in self._rendered:
            content: list[dict[str, str]] = [{"type": "image"}] * images + [{"type": "video"}] * videos
            content.append({"type": "text", "text": user_text(_USER_TEXT)})
            self._rendered[key] = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        return self._rendered[key]
