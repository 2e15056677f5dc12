"""``ClipPeer``: two-tower models of transformers (CLIP, SigLIP, SigLIP 2, …).

They know one text or one picture. What mixes several, pictures with a text or the frames of a video, gets the
mean of its parts' unit vectors, which is what the benchmarks' own rows of CLIP do with text and picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_bench.peers.peer import (
    FRAMES,
    PeerVectors,
    cosines,
    encode_batches,
    score_vectors,
    unit_rows,
    worded,
)
from ume_r1_rag.checkpoints import resolve_model, weights_digest
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import BackendError, CheckpointError, UmeR1Error
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from ume_r1_bench.peers.peer import Matrix

_OTHERS = "as CLIP and SigLIP have; other models are for st: and late:"

SCHEMA = 1
"""Raised when the way from an input to a vector changes."""


class ClipPeer:
    """A model with ``get_text_features`` and ``get_image_features``.

    Attributes:
        name: what a table calls it.
    """

    def __init__(
        self, model: str | Path, *, device: str | None = None, batch_size: int = 32, name: str | None = None
    ) -> None:
        """Loads a model; never a pickle, never its own code.

        Args:
            model: a folder, or a hub id at a full commit (``owner/name@COMMIT``).
            device: e.g. ``"cuda:1"``; by default the best there is.
            batch_size: most texts or pictures in one forward pass.
            name: what a table calls it; by default its id.

        Raises:
            CheckpointError: the model is absent, incomplete or no such model.
        """
        from ume_r1_rag.backends.loading import best_device, choose_dtype

        checkpoint = resolve_model(model)
        self.name = name or checkpoint.name
        self._batch_size, self._device = batch_size, device or best_device()
        self._dtype = choose_dtype("auto", self._device)
        self._model, self._processor = _load(checkpoint.path, self._dtype, self._device)
        kind = str(self._model.config.model_type)
        length = getattr(getattr(self._model.config, "text_config", None), "max_position_embeddings", None)
        self._text_options: dict[str, Any] = {
            # SigLIP was trained on texts of full length and reads its vector off the last place.
            "padding": "max_length" if kind.startswith("siglip") else True,
            "truncation": True,
            "max_length": int(length or 77),
        }
        self._fingerprint = {
            "peer": "clip",
            "schema": SCHEMA,
            "weights": weights_digest(checkpoint.path),
            "type": kind,
            "dtype": self._dtype,
            "text_tokens": self._text_options["max_length"],
            "max_video_frames": FRAMES,
            "mixed": "mean of unit vectors",
            # A directory's name means nothing elsewhere.
            "model": checkpoint.name if checkpoint.revision else "local",
            "revision": checkpoint.revision,
        }

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What its vectors depend on."""
        return self._fingerprint

    def encode_queries(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of queries."""
        return encode_batches(self.name, inputs, self._run, batch_size=self._batch_size)

    encode_documents = encode_queries

    def score(self, queries: PeerVectors, documents: PeerVectors) -> Matrix:
        """Returns cosines ``(Q, C)``; see ``Peer.score``."""
        return score_vectors(queries, documents, cosines)

    def close(self) -> None:
        """Frees the model."""
        self._model = None

    def _run(self, batch: Sequence[MultimodalInput]) -> list[Any]:
        """Returns the mean vector of each input's parts."""
        texts: list[tuple[int, str]] = []
        images: list[tuple[int, Image]] = []
        for at, item in enumerate(batch):
            if words := worded(item):
                texts.append((at, words))
            images += [(at, one) for one in pictures(item)]
        parts: list[list[Matrix]] = [[] for _ in batch]
        for kind, found in (("text", texts), ("image", images)):
            for start in range(0, len(found), self._batch_size):
                some = found[start : start + self._batch_size]
                vectors = self._features(kind, [one for _, one in some])
                for (at, _), vector in zip(some, vectors, strict=True):
                    unit = unit_rows(self.name, vector)
                    if isinstance(unit, UmeR1Error):
                        raise unit
                    parts[at].append(unit)
        return [np.mean(np.concatenate(one), axis=0) for one in parts]

    def _features(self, kind: str, values: Sequence[Any]) -> Any:
        """Returns ``(B, D)`` float32 of texts or of pictures."""
        import torch

        if self._model is None:
            raise BackendError(f"{self.name} was closed: open it again")
        with torch.inference_mode():
            if kind == "text":
                given = self._processor(text=list(values), return_tensors="pt", **self._text_options)
                found = self._model.get_text_features(**given.to(self._device))
            else:
                given = self._processor(images=list(values), return_tensors="pt")
                found = self._model.get_image_features(**given.to(self._device, dtype=self._model.dtype))
        # A tensor until transformers 4, an output around it since.
        pooled = getattr(found, "pooler_output", found)
        return pooled.float().cpu().numpy()


def pictures(item: MultimodalInput) -> list[Image]:
    """Returns an input's pictures and the frames of its video.

    Raises:
        InputError: a file is absent or cannot be read.
    """
    from ume_r1_rag.media import load_image, load_video

    found = [load_image(one) for one in item.images]
    return found if item.video is None else [*found, *load_video(item.video, FRAMES)]


def _load(path: Path, dtype: str, device: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel, AutoProcessor

    try:
        model = (
            AutoModel.from_pretrained(path, dtype=getattr(torch, dtype), use_safetensors=True)
            .to(device)
            .eval()
        )
        processor = AutoProcessor.from_pretrained(path)
    except Exception as error:  # JSON, safetensors, transformers: these share no base
        why = shorten(str(error).partition("\n")[0], 200)
        raise CheckpointError(f"cannot load {path} as a two-tower model, {_OTHERS} ({why})") from error
    if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
        raise CheckpointError(
            f"{path} is a {type(model).__name__}, which has no towers for text and pictures, {_OTHERS}"
        )
    return model, processor
