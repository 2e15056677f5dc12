"""``Peer``: what a benchmark needs of any model; and encoding in batches of which a bad input ends none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ume_r1_rag.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    InputError,
    MissingExtra,
    ServerUnavailable,
    UmeR1Error,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from ume_r1_rag.types import MultimodalInput

    Matrix = npt.NDArray[np.float32]

FRAMES = 8
"""Frames of a video, as in all of the benchmark's protocols."""

_FATAL = (ServerUnavailable, ConfigError, MissingExtra, CheckpointError)
"""What every further input would fail of as well; ``InputError`` and ``BackendError`` are one input's."""


@dataclass(frozen=True, slots=True, eq=False)
class PeerVectors:
    """The vectors of some inputs.

    Attributes:
        rows: one ``(T, D)`` float32 per input, in order, each of its T vectors of length 1; T is 1 but for
            multi-vector models. None where the input failed.
        failures: position and error of those.
    """

    rows: tuple[Matrix | None, ...]
    failures: tuple[tuple[int, UmeR1Error], ...] = ()

    @property
    def dimension(self) -> int:
        """The length D; 0 if nothing was encoded."""
        return next((row.shape[1] for row in self.rows if row is not None), 0)


@runtime_checkable
class Peer(Protocol):
    """Any model. A failing input is in ``failures``, and the others have their vectors.

    Attributes:
        name: what a table calls it.
    """

    name: str

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What its vectors depend on; no address of a machine."""
        ...

    def encode_queries(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of queries.

        Raises:
            UmeR1Error: the model cannot be used at all, such as a server that is gone.
        """
        ...

    def encode_documents(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of documents; see ``encode_queries``."""
        ...

    def score(self, queries: PeerVectors, documents: PeerVectors) -> Matrix:
        """Returns ``(Q, C)`` float32: the greater, the nearer.

        A document that failed scores minus infinity, so that it is last; a query that failed has NaN
        throughout, so that nobody takes it for a ranking.
        """
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


def encode_batches(
    name: str,
    inputs: Sequence[MultimodalInput],
    run: Callable[[Sequence[MultimodalInput]], Sequence[Any]],
    *,
    batch_size: int,
) -> PeerVectors:
    """Returns the vectors that ``run`` gives, with a progress bar on a terminal.

    A batch that fails is taken input by input. Vectors are brought to length 1.

    Args:
        name: of the model, for messages.
        inputs: what is encoded.
        run: gives ``(D,)`` or ``(T, D)`` for each input of a batch, or an ``UmeR1Error`` in its place.
        batch_size: most inputs for one call of it.

    Raises:
        UmeR1Error: the model cannot be used at all.
    """
    from tqdm.auto import tqdm

    found: list[Any] = []
    with tqdm(total=len(inputs), desc=name, unit="input", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(inputs), batch_size):
            batch = inputs[start : start + batch_size]
            found += _batch(name, batch, run)
            bar.update(len(batch))
    rows = [one if isinstance(one, UmeR1Error) else unit_rows(name, one) for one in found]
    sizes = {row.shape[1] for row in rows if not isinstance(row, UmeR1Error)}
    if len(sizes) > 1:
        raise BackendError(
            f"{name} gives vectors of {' and '.join(map(str, sorted(sizes)))} numbers: of one model?"
        )
    return PeerVectors(
        tuple(None if isinstance(row, UmeR1Error) else row for row in rows),
        tuple((at, row) for at, row in enumerate(rows) if isinstance(row, UmeR1Error)),
    )


def _batch(
    name: str, batch: Sequence[MultimodalInput], run: Callable[[Sequence[MultimodalInput]], Sequence[Any]]
) -> list[Any]:
    try:
        found = list(run(batch))
    except Exception as error:  # a model's own code may raise anything
        if isinstance(error, _FATAL):
            raise
        if len(batch) > 1:
            return [one for item in batch for one in _batch(name, [item], run)]
        if isinstance(error, UmeR1Error):
            return [error]
        failed = BackendError(f"{name} failed on this input: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return [failed]
    if len(found) != len(batch):
        raise BackendError(f"{name} gave {len(found)} vectors for {len(batch)} inputs")
    return found


def unit_rows(name: str, vectors: Any) -> Matrix | UmeR1Error:
    """Returns vectors as ``(T, D)`` float32 of length 1, or what is wrong with them."""
    rows = np.atleast_2d(np.asarray(vectors, np.float32))
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        return BackendError(
            f"{name} gave no usable vectors for this input (shape {rows.shape}, or not finite)"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    # Multi-vector models pad with zero vectors, which count nothing in a maximum over others.
    rows, lengths = rows[lengths[:, 0] > 0], lengths[lengths[:, 0] > 0]
    if not len(rows):
        return InputError(f"{name} makes nothing of this input: its vector is zero")
    unit: Matrix = np.ascontiguousarray(rows / lengths, np.float32)
    return unit


def score_vectors(
    queries: PeerVectors, documents: PeerVectors, score: Callable[[list[Matrix], list[Matrix]], Matrix]
) -> Matrix:
    """Returns ``(Q, C)`` scores, with those of what failed filled in; see ``Peer.score``.

    Args:
        queries: Q of them.
        documents: C of them.
        score: scores those that have vectors.

    Raises:
        ConfigError: the two are of different models.
    """
    sizes = {queries.dimension, documents.dimension} - {0}
    if len(sizes) > 1:
        raise ConfigError(
            f"queries of {queries.dimension} dimensions, documents of {documents.dimension}: they are of two "
            "models"
        )
    scores = np.full((len(queries.rows), len(documents.rows)), -np.inf, np.float32)
    asked = [at for at, row in enumerate(queries.rows) if row is not None]
    there = [at for at, row in enumerate(documents.rows) if row is not None]
    if asked and there:
        scores[np.ix_(asked, there)] = score(
            [row for row in queries.rows if row is not None],
            [row for row in documents.rows if row is not None],
        )
    scores[[at for at, row in enumerate(queries.rows) if row is None]] = np.nan
    return scores


def cosines(queries: list[Matrix], documents: list[Matrix]) -> Matrix:
    """Returns ``(Q, C)`` cosines of single vectors."""
    scores: Matrix = np.concatenate(queries) @ np.concatenate(documents).T
    return scores


def worded(item: MultimodalInput) -> str:
    """Returns an input's text after its instruction; without a text there is no place for one."""
    if not item.text or not item.text.strip():
        return ""
    return f"{item.instruction} {item.text}" if item.instruction else item.text
