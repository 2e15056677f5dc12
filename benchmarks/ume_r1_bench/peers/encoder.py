"""``EncoderPeer``: any ``Encoder`` of ours by disc or gen; so also any sentence-transformers model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ume_r1_bench.peers.peer import PeerVectors, cosines, encode_batches, score_vectors
from ume_r1_rag.types import Encoder, MultimodalInput, Space

if TYPE_CHECKING:
    from ume_r1_bench.peers.peer import Matrix

_ROUND = 256
"""Inputs between two steps of the progress bar; the encoder makes its own batches."""


class EncoderPeer:
    """An encoder by one of its vectors.

    Attributes:
        name: what a table calls it.
    """

    def __init__(self, encoder: Encoder, name: str, mode: Space = "disc") -> None:
        """Takes an encoder; ``close`` closes it.

        Args:
            encoder: what encodes.
            name: what a table calls it.
            mode: ``"disc"``, or ``"gen"`` at the encoder's own think budget.
        """
        self.name, self._encoder, self._mode = name, encoder, mode

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The encoder's."""
        return {"peer": "encoder", "mode": self._mode, **self._encoder.fingerprint}

    def encode_queries(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of queries, with the model's prompt for queries if it has one."""
        return self._encode(self._encoder.encode_query, inputs)

    def encode_documents(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of documents, with the model's prompt for documents if it has one."""
        return self._encode(self._encoder.encode_document, inputs)

    def score(self, queries: PeerVectors, documents: PeerVectors) -> Matrix:
        """Returns cosines ``(Q, C)``; see ``Peer.score``."""
        return score_vectors(queries, documents, cosines)

    def close(self) -> None:
        """Frees the model."""
        close = getattr(self._encoder, "close", None)
        if close is not None:
            close()

    def _encode(self, encode: Any, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        def run(batch: Sequence[MultimodalInput]) -> list[Any]:
            found = encode(list(batch), self._mode, on_error="return", show_progress=False)
            return [one if isinstance(one, Exception) else one.vector(self._mode) for one in found]

        return encode_batches(self.name, inputs, run, batch_size=_ROUND)
