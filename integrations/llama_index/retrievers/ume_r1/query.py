"""Queries: what LlamaIndex's bundle says, and what it has no field for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_index.core.schema import QueryBundle

from ume_r1_rag.errors import InputError
from ume_r1_rag.inputs import to_input
from ume_r1_rag.types import MultimodalInput


@dataclass
class UmeR1QueryBundle(QueryBundle):
    """A query of text, pictures and a clip, any of which may be absent.

    It goes wherever LlamaIndex takes a ``QueryBundle``.

    Attributes:
        query_str: the text; what else is there needs none.
        image_paths: further pictures: paths, bytes or PIL images.
        video_path: a clip: a path, or frames.
        instruction: put before the text.
    """

    query_str: str = ""
    image_paths: Sequence[Any] = ()
    video_path: Any = None
    instruction: str | None = None


def query_inputs(bundle: QueryBundle) -> list[MultimodalInput]:
    """Returns what is to be encoded for a query: one input, or several where it has several texts.

    ``custom_embedding_strs`` are what a query transformation (HyDE) wrote in place of the query's own text;
    LlamaIndex takes the mean of their vectors, and so does the retriever.

    Raises:
        InputError: there is nothing to ask, or a file is not there.
    """
    images: list[Any] = [] if bundle.image_path is None else [_place(bundle.image_path)]
    video, instruction = None, None
    if isinstance(bundle, UmeR1QueryBundle):
        images += [_place(one) for one in bundle.image_paths]
        video = None if bundle.video_path is None else _place(bundle.video_path)
        instruction = bundle.instruction
    texts: list[str | None] = [text for text in bundle.embedding_strs if text.strip()]
    if not texts and not images and video is None:
        raise InputError(
            "an empty query: give it a text, a picture (image_path) or a clip (UmeR1QueryBundle)"
        )
    media = {
        name: value for name, value in (("image", images or None), ("video", video)) if value is not None
    }
    found = to_input(media) if media else None
    return [
        MultimodalInput(
            text=text,
            images=found.images if found else (),
            video=found.video if found else None,
            instruction=instruction,
        )
        for text in texts or [None]
    ]


def is_bare(bundle: QueryBundle) -> bool:
    """Returns whether a query is a vector and nothing else.

    The vector of any other is passed over: LlamaIndex's own retrievers leave in the bundle what they took for
    its vector, that of its text alone, by their model.
    """
    more = isinstance(bundle, UmeR1QueryBundle) and (bundle.image_paths or bundle.video_path is not None)
    texts = any(text.strip() for text in bundle.embedding_strs)
    return bundle.embedding is not None and not (texts or bundle.image_path is not None or more)


def _place(source: Any) -> Any:
    """Returns a path given as text as a path; URLs and data URLs stay what they are."""
    plain = isinstance(source, str) and not source.startswith(("http://", "https://", "data:"))
    return Path(source) if plain else source
