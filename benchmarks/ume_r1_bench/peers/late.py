"""``LatePeer``: multi-vector models (ColPali, ColQwen2, ColBERT, …), run by sentence-transformers.

A query and a page are many vectors each; the score is the sum, over the query's, of the greatest cosine to
any of the page's. They read one text or one picture. Of a picture with a text the picture alone is read, as
VLM2Vec's evaluation of ColPali does (``processor.py``); a video is that input's error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_bench.peers.peer import PeerVectors, encode_batches, score_vectors, worded
from ume_r1_rag.checkpoints import resolve_model, weights_digest
from ume_r1_rag.checkpoints.layout import SENTENCE_TRANSFORMERS, UME_R1
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import BackendError, CheckpointError, InputError, MissingExtra
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from ume_r1_bench.peers.peer import Matrix

_log = logging.getLogger(__name__)

SCHEMA = 1
"""Raised when the way from an input to vectors changes."""


class LatePeer:
    """A model with many vectors for each input.

    Attributes:
        name: what a table calls it.
    """

    def __init__(
        self, model: str | Path, *, device: str | None = None, batch_size: int = 8, name: str | None = None
    ) -> None:
        """Loads a model; never a pickle, never its own code.

        Args:
            model: a folder, or a hub id at a full commit (``owner/name@COMMIT``), of transformers
                (ColPali, ColQwen2, …) or of sentence-transformers.
            device: e.g. ``"cuda:1"``; by default the best there is.
            batch_size: most inputs in one forward pass.
            name: what a table calls it; by default its id.

        Raises:
            CheckpointError: the model is absent, incomplete or no such model.
            MissingExtra: sentence-transformers is not installed.
        """
        from ume_r1_rag.backends.loading import best_device, choose_dtype

        checkpoint = resolve_model(model)
        modules = (checkpoint.path / "modules.json").is_file()
        layout = SENTENCE_TRANSFORMERS if modules else UME_R1
        if missing := layout.missing(checkpoint.path):
            raise CheckpointError(f"{checkpoint.path} is no complete checkpoint: {'; '.join(missing)}")
        if not modules:
            _check_head(checkpoint.path)
        device = device or best_device()
        dtype = choose_dtype("auto", device)
        self.name, self._batch_size = name or checkpoint.name, batch_size
        self._model = _load(checkpoint.path, dtype, device)
        self._reads = [kind for kind in ("text", "image") if self._model.supports(kind)]
        self._fingerprint = {
            "peer": "late",
            "schema": SCHEMA,
            "weights": weights_digest(checkpoint.path, layout),
            "dtype": dtype,
            "score": "maxsim",
            "mixed": "picture alone",
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
        return self._encode("query", inputs)

    def encode_documents(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of documents; ColPali and its like know no text but a query."""
        return self._encode("document", inputs)

    def score(self, queries: PeerVectors, documents: PeerVectors) -> Matrix:
        """Returns sums of greatest cosines ``(Q, C)``; see ``Peer.score``."""
        return score_vectors(queries, documents, _late)

    def close(self) -> None:
        """Frees the model."""
        self._model = None

    def _encode(self, role: str, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        def run(batch: Sequence[MultimodalInput]) -> list[Any]:
            if self._model is None:
                raise BackendError(f"{self.name} was closed: open it again")
            encode = self._model.encode_query if role == "query" else self._model.encode_document
            found: list[Any] = [self._refusal(item) for item in batch]
            # Texts and pictures in one call would be refused.
            for kind in ("text", "image"):
                places = [
                    at
                    for at, item in enumerate(batch)
                    if found[at] is None and bool(item.images) is (kind == "image")
                ]
                samples = [_sample(batch[at]) for at in places]
                if samples:
                    options = {"batch_size": self._batch_size, "show_progress_bar": False}
                    rows = encode(samples, convert_to_numpy=True, **options)
                    for at, row in zip(places, rows, strict=True):
                        found[at] = row
            return found

        self._note_dropped(inputs)
        return encode_batches(self.name, inputs, run, batch_size=self._batch_size)

    def _refusal(self, item: MultimodalInput) -> InputError | None:
        """Returns why the model cannot read an input; None if it can."""
        images = len(item.images)
        if item.video is None and images <= 1 and ("image" if images else "text") in self._reads:
            return None
        found = "a video" if item.video is not None else f"{images} pictures" if images else "a text"
        return InputError(
            f"{self.name} reads one {' or one '.join(self._reads)}, not {found}: leave such inputs out"
        )

    def _note_dropped(self, inputs: Sequence[MultimodalInput]) -> None:
        dropped = sum(bool(item.images and worded(item)) for item in inputs)
        if dropped:
            _log.warning("%s reads no text beside a picture: of %d inputs it is left out", self.name, dropped)


def _sample(item: MultimodalInput) -> Any:
    from ume_r1_rag.media import load_image

    # With a picture, that alone. A plain string could be a path or a URL to open, so it comes under its name.
    return {"image": load_image(item.images[0])} if item.images else {"text": worded(item)}


def _late(queries: list[Matrix], documents: list[Matrix]) -> Matrix:
    import torch
    from sentence_transformers.util.similarity import maxsim

    scores: Matrix = maxsim(
        [torch.from_numpy(row) for row in queries], [torch.from_numpy(row) for row in documents]
    ).numpy()
    return np.asarray(scores, np.float32)


def _check_head(path: Path) -> None:
    """Refuses a model without a head of its own, to which the library would add one with random weights.

    Raises:
        CheckpointError: it has none.
    """
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    architectures = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith("ForRetrieval") for name in architectures):
        raise CheckpointError(
            f"{path} is a {', '.join(architectures) or 'model of no known kind'}, and no multi-vector model: "
            "late: takes ColPali, ColQwen2, ColModernVBERT, or what sentence-transformers saved as one"
        )


def _load(path: Path, dtype: str, device: str) -> Any:
    try:
        from sentence_transformers import MultiVectorEncoder
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"multi-vector models need {error.name}: pip install 'ume-r1-rag[sentence-transformers]'"
        ) from error
    try:
        return MultiVectorEncoder(
            str(path), device=device, local_files_only=True, model_kwargs={"dtype": dtype}
        )
    except Exception as error:  # JSON, safetensors, torch, the model's modules: these share no base
        why = shorten(str(error).partition("\n")[0], 200)
        raise CheckpointError(f"cannot load {path} as a multi-vector model: {why}") from error
