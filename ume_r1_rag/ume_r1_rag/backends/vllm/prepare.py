"""From a request to a prompt of vLLM's: token ids, and visuals in their final size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import InputError
from ume_r1_rag.pooling import disc_index

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Request
    from ume_r1_rag.template import Markers, PromptTokenizer, VisualProcessor


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose visuals were opened and measured.

    Attributes:
        request: as it came.
        visuals: vLLM's ``multi_modal_data``.
        prompt_length: tokens of the prompt, visual ones included.
        disc_at: where its ``<disc_emb>`` stands, visual tokens included.
        visual_tokens: how many of them there are.
    """

    request: Request
    visuals: dict[str, Any]
    prompt_length: int
    disc_at: int
    visual_tokens: int

    @property
    def fed(self) -> int:
        """Tokens that are fed before any is decoded."""
        return self.prompt_length + len(self.request.replay_ids)

    def prompt(self, completion: tuple[int, ...] = ()) -> dict[str, Any]:
        """Returns the prompt with a completion after it."""
        return self._prompt((*self.request.prompt_ids, *completion))

    def disc_prompt(self, markers: Markers) -> dict[str, Any]:
        """Returns the prompt up to ``<disc_emb>``; attention is causal, so nothing after it matters."""
        ids = self.request.prompt_ids
        return self._prompt(ids[: disc_index(ids, markers.disc) + 1])

    def _prompt(self, ids: tuple[int, ...]) -> dict[str, Any]:
        # One pad token per visual: vLLM puts as many in its place as the visual has tokens.
        prompt: dict[str, Any] = {"prompt_token_ids": list(ids)}
        return {**prompt, "multi_modal_data": self.visuals} if self.visuals else prompt


def prepare(request: Request, tokens: PromptTokenizer, visual: VisualProcessor, max_length: int) -> Prepared:
    """Returns a request ready to be sent.

    Raises:
        InputError: a visual cannot be used, or there are more tokens than the model takes.
    """
    from PIL import Image

    media = request.load_media()
    visuals: dict[str, Any] = {}
    image_tokens: tuple[int, ...] = ()
    video_tokens: list[int] = []
    try:
        if media.images:
            pixels, image_tokens = visual.resized_images(media.images)
            visuals["image"] = [Image.fromarray(one) for one in pixels]
        for frames in media.videos:
            array, count = visual.resized_video(frames)
            visuals.setdefault("video", []).append(array)
            video_tokens.append(count)
    except ValueError as error:
        raise InputError(f"the processor refused a visual: {error}") from error
    prompt = tokens.expand(request.prompt_ids, image_tokens, video_tokens)
    found = Prepared(
        request,
        visuals,
        len(prompt),
        disc_index(prompt, tokens.markers.disc),
        sum(image_tokens) + sum(video_tokens),
    )
    decodes = request.sampling.max_new_tokens
    only_disc = "gen" not in request.want and not decodes
    # vLLM always decodes one token, wanted or not.
    length = (found.disc_at + 1 if only_disc else found.fed) + max(decodes, 1)
    if length > max_length:
        raise InputError(
            f"{length - max(decodes, 1)} tokens and up to {decodes} new ones exceed the model's "
            f"{max_length}: shorten the text, or lower the pixel budget or max_new_tokens"
        )
    return found
