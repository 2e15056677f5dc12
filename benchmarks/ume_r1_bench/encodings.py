"""Encodings: vectors kept on disk, each under the content it is of and the encoder it is by.

A store is one kind of vector: a folder whose name ends in a digest of everything these vectors depend on,
with that very description inside. Another encoder, think budget or seed is another folder, so nothing is
reused by mistake. Vectors are safetensors, texts JSON lines beside them; nothing is pickled. MMEB's own
evaluator keeps pickles under the task's name and takes whatever lies there.

A chunk is a pair of files that never change. The lines are written last, so a chunk that was cut off by a
kill is no chunk; several processes may write into one store at a time, under names of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.types import INFORMATIVE_FIELDS

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

_LOGGER = logging.getLogger(__name__)
_ABOUT: Final = "about.json"
_VECTORS: Final = "vectors"


class StoreUnusable(UmeR1Error):
    """A folder of encodings belongs to something else, or cannot be read."""


class EncodingStore:
    """One kind of vector, by content.

    Attributes:
        folder: where it is.
    """

    def __init__(self, root: Path, name: str, about: Mapping[str, Any]) -> None:
        """Opens or makes a store.

        Args:
            root: the folder of all stores.
            name: what the folder's name begins with; for people.
            about: all that the vectors depend on, as in JSON.

        Raises:
            StoreUnusable: the folder holds something else.
        """
        deciding = _deciding(about)
        mark = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = root / f"{name}-{mark}"
        self._places: dict[str, tuple[str, int]] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._read: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / _ABOUT).is_file():
                _write(self.folder / _ABOUT, json.dumps(dict(about), indent=1).encode())
            found = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreUnusable(
                f"the encodings in {self.folder} cannot be used ({error}): remove the folder"
            ) from error
        if _deciding(found) != deciding:
            raise StoreUnusable(
                f"the encodings in {self.folder} are of another encoder than its name says: remove the folder"
            )
        self.refresh()

    def __contains__(self, key: str) -> bool:
        """Returns whether there is a vector of a content."""
        return key in self._places

    def __len__(self) -> int:
        """Returns how many contents there are vectors of."""
        return len(self._places)

    def refresh(self) -> None:
        """Takes note of the chunks that other processes have written since."""
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.stem not in self._read:
                self._take(path)

    def put(self, keys: Sequence[str], vectors: Array, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps a chunk.

        Args:
            keys: of the contents.
            vectors: ``(N, D)``, or ``(N, K, D)`` of K samples.
            rows: what else belongs to each, as in JSON.

        Raises:
            StoreUnusable: the disk refuses it.
        """
        from safetensors.numpy import save

        if not keys:
            return
        name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        lines = [
            json.dumps({"key": key, **row}, ensure_ascii=True) for key, row in zip(keys, rows, strict=True)
        ]
        kept = np.ascontiguousarray(vectors, np.float32)
        if len(kept) != len(lines):
            raise ConfigError(f"{len(kept)} vectors for {len(lines)} contents")
        try:
            _write(self.folder / f"{name}.safetensors", save({_VECTORS: kept}))
            _write(self.folder / f"{name}.jsonl", ("\n".join(lines) + "\n").encode())
        except OSError as error:
            raise StoreUnusable(
                f"{self.folder} cannot be written ({error}): what was encoded before is kept"
            ) from error
        self._take(self.folder / f"{name}.jsonl")

    def vectors(self, keys: Sequence[str]) -> Array:
        """Returns the vectors of some contents, ``(N, D)`` or ``(N, K, D)``, in order.

        Raises:
            KeyError: one was never kept.
            StoreUnusable: a chunk cannot be read any more.
        """
        by_chunk: dict[str, list[tuple[int, int]]] = {}
        for at, key in enumerate(keys):
            chunk, row = self._places[key]
            by_chunk.setdefault(chunk, []).append((at, row))
        out: Array | None = None
        for chunk, places in by_chunk.items():
            found = self._load(chunk)
            if out is None:
                out = np.empty((len(keys), *found.shape[1:]), np.float32)
            out[[at for at, _ in places]] = found[[row for _, row in places]]
        return np.empty((0, 0), np.float32) if out is None else out

    def row(self, key: str) -> Mapping[str, Any]:
        """Returns what else was kept of a content.

        Raises:
            KeyError: it was never kept.
        """
        return self._rows[key]

    def _load(self, chunk: str) -> Array:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.folder / f"{chunk}.safetensors"
        try:
            return load_file(path)[_VECTORS]
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreUnusable(
                f"{path} cannot be read ({error}): remove it and run again, its vectors are then made anew"
            ) from error

    def _take(self, path: Path) -> None:
        self._read.add(path.stem)
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            keys = [line.pop("key") for line in lines]
            rows = _rows_of(path.with_suffix(".safetensors"))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            _LOGGER.warning("%s is damaged and counts as absent: %s", path, error)
            return
        if rows != len(keys):
            _LOGGER.warning("%s has %s lines for %s vectors and counts as absent", path, len(keys), rows)
            return
        for at, (key, line) in enumerate(zip(keys, lines, strict=True)):
            self._places[key] = (path.stem, at)
            self._rows[key] = line


def missing(store: EncodingStore, keys: Iterable[str]) -> list[str]:
    """Returns the contents that a store has no vector of, each once, in order."""
    return [key for key in dict.fromkeys(keys) if key not in store]


def _deciding(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what vectors depend on, without what a model was called."""
    kept = {name: value for name, value in about.items() if name not in INFORMATIVE_FIELDS}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def _rows_of(path: Path) -> int:
    """Returns the number of vectors in a file, from its head alone.

    Raises:
        OSError: there is none.
        ValueError: it is damaged or cut off.
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 0 < size < 1 << 20:
            raise ValueError("it is no safetensors file")
        head = json.loads(stream.read(size))
    found = head[_VECTORS]
    if path.stat().st_size != 8 + size + found["data_offsets"][1]:
        raise ValueError("it is cut off")
    return int(found["shape"][0])


def _write(path: Path, data: bytes) -> None:
    """Writes a file that is there as a whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
