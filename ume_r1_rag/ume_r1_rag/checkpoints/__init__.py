"""Where a model comes from: the package itself, a folder, or the Hugging Face Hub at a fixed revision.

A name that starts with ``st:`` is a sentence-transformers model, any other a UME-R1 one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.checkpoints.layout import SENTENCE_TRANSFORMERS, UME_R1, Layout
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import CheckpointError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

DEFAULT_MODEL = "zhibinlan/UME-R1-2B"
"""The model if neither the call nor ``UME_R1_MODEL`` names one."""

ST_PREFIX = "st:"
"""What a sentence-transformers model is called by, before its id or folder."""

NANO = "nano"
"""Name of the tiny checkpoint inside the package."""

REVISIONS = {
    "zhibinlan/UME-R1-2B": "e7aaa253cd315be20bd15c8704ad281b4fdf82c9",
    "zhibinlan/UME-R1-7B": "b5c08e3273d979e0f22445306717c39ca8d45df0",
}
"""The commit at which each known model is taken, so that a changed upload cannot change vectors."""

# Data only: no pickles (*.bin, *.pt) and no code (*.py) ever reach the disk.
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")

_WHOLE = 64 << 20
_BLOCK = 4 << 10
_BLOCKS_PER_TENSOR = 4
_MAX_HEADER = 100 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        name: what it was asked for by: ``"nano"``, a hub id, or the folder, with its ``st:``.
        revision: the hub commit, or None.
        path: the folder that holds it.
    """

    name: str
    revision: str | None
    path: Path

    @property
    def layout(self) -> Layout:
        """What its folder must hold."""
        return _split(self.name)[2]

    @property
    def reference(self) -> str:
        """What names it anew: ``id@commit``, or the name alone where that is enough."""
        return _reference(self.name, self.revision)


def _reference(name: str, commit: str | None) -> str:
    return name if commit in (None, REVISIONS.get(name)) else f"{name}@{commit}"


def nano_path() -> Path:
    """Returns the folder of the checkpoint inside the package.

    Raises:
        CheckpointError: the package was built without it.
    """
    path = Path(__file__).parent / NANO
    if not path.is_dir():
        raise CheckpointError(
            f'the checkpoint "{NANO}" is not at {path}: reinstall ume-r1-rag from its wheel'
        )
    return path


def resolve_model(
    model: str | Path | None = None, revision: str | None = None, *, local_only: bool = False
) -> Checkpoint:
    """Returns the checkpoint of a name, downloading it if it is not here yet.

    Args:
        model: ``"nano"``, an existing folder, or a hub id, also as ``id@commit``, the latter two of a
            sentence-transformers model after ``st:``; None takes ``UME_R1_MODEL``, else ``DEFAULT_MODEL``. A
            folder that is called ``nano`` is ``"./nano"``.
        revision: full commit of a hub id; None takes the one behind the ``@``, else in ``REVISIONS``.
        local_only: never download.

    Raises:
        CheckpointError: it does not exist, is incomplete, or cannot be downloaded.
        MissingExtra: it would have to come from the hub, and huggingface_hub is not installed.
    """
    asked = model or os.environ.get("UME_R1_MODEL") or DEFAULT_MODEL
    if asked == NANO:
        return _checked(Checkpoint(NANO, None, nano_path()))
    prefix, bare, layout = _split(asked)
    folder = Path(bare).expanduser()
    if bare and folder.is_dir():
        return _checked(Checkpoint(str(asked), None, folder.resolve()))
    name, commit = _pinned(asked, revision)
    local = _snapshot(name, commit, local_only=True)
    if local is not None and not layout.missing(local):
        return Checkpoint(f"{prefix}{name}", commit, local)
    if local_only:
        raise _unavailable(f"{prefix}{name}", commit, "it is not on this machine, or not all of it")
    return download(f"{prefix}{name}", commit)


def download(
    model: str | None = None, revision: str | None = None, *, cache_dir: Path | None = None
) -> Checkpoint:
    """Brings a model from the hub to this machine; files that are here already are not fetched again.

    Args:
        model: a hub id, also as ``id@commit`` and after ``st:``, or ``"nano"``, which is here already; None
            takes ``UME_R1_MODEL``, else ``DEFAULT_MODEL``.
        revision: full commit; None takes the one behind the ``@``, else in ``REVISIONS``.
        cache_dir: where to, instead of the Hugging Face cache.

    Raises:
        CheckpointError: there is no such model or commit, the network failed, or it is no such checkpoint.
        MissingExtra: huggingface_hub is not installed.
    """
    asked = model or os.environ.get("UME_R1_MODEL") or DEFAULT_MODEL
    if asked == NANO:
        return resolve_model(NANO)
    prefix = _split(asked)[0]
    name, commit = _pinned(asked, revision)
    path = _snapshot(name, commit, local_only=False, cache_dir=cache_dir)
    if path is None:
        raise _unavailable(f"{prefix}{name}", commit, "the hub returned nothing")
    return _checked(Checkpoint(f"{prefix}{name}", commit, path))


def weights_digest(path: str | Path, layout: Layout = UME_R1) -> str:
    """Returns a SHA-256 in hex of what a checkpoint's vectors depend on, for a fingerprint.

    It covers the names, sizes and contents of configuration, tokenizer and weights: of UME-R1
    ``config.json``, ``tokenizer.json`` (else ``vocab.json`` and ``merges.txt``) and every ``*.safetensors``;
    of a sentence-transformers model all that may be loaded of its folders. All bytes are read if that is less
    than 64 MiB. Otherwise a weight file stands for itself by its size, its header (names, shapes, types,
    places) and, of each tensor, four evenly spaced blocks of 4 KiB, the first and the last among them:
    training or merging changes those, a change of single numbers elsewhere may go unseen. The digest is
    remembered for the process until a file's size or time changes.

    Raises:
        CheckpointError: the folder is no complete checkpoint, or a weight file is broken.
    """
    folder = Path(path).resolve()
    if missing := layout.missing(folder):
        raise CheckpointError(f"{path} is no complete checkpoint: {'; '.join(missing)}")
    names = layout.files(folder)
    stats = [(name, (folder / name).stat()) for name in names]
    return _digest(folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@lru_cache(maxsize=16)
def _digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    whole = sum(size for _, size, _ in files) < _WHOLE
    digest = hashlib.sha256()
    for name, size, _ in files:
        digest.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            for block in _all_of(file) if whole or not name.endswith(".safetensors") else _sample(file, name):
                digest.update(block)
    return digest.hexdigest()


def _all_of(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(1 << 20):
        yield block


def _sample(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields a safetensors header and blocks of every tensor, in the order in which they lie."""
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    header = file.read(length) if length <= _MAX_HEADER else b""
    try:
        tensors = json.loads(header)
        places = sorted(entry["data_offsets"] for key, entry in tensors.items() if key != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{name} is no safetensors file, or broken: download it again") from error
    yield header
    for begin, end in places:
        last = max(begin, end - _BLOCK)
        for step in range(_BLOCKS_PER_TENSOR):
            file.seek(8 + length + begin + (last - begin) * step // (_BLOCKS_PER_TENSOR - 1))
            yield file.read(min(_BLOCK, end - begin))


def _pinned(model: str | Path, revision: str | None) -> tuple[str, str]:
    """Returns a hub id and the commit at which it is taken.

    Raises:
        CheckpointError: it is no hub id, or no full commit, or more than one, is known for it.
    """
    name, at, named = str(_split(model)[1]).partition("@")
    if isinstance(model, Path) or _HUB_ID.fullmatch(name) is None:
        raise CheckpointError(
            f'model {shorten(str(model))!r} is neither a folder here nor a hub id: pass "{NANO}", a '
            f'folder that exists, or an id like "{DEFAULT_MODEL}" or "you/yours@COMMIT"'
        )
    if at and revision and named != revision:
        raise CheckpointError(f"model {model!r} and revision {revision!r} name two commits: give one of them")
    commit = named if at else revision or REVISIONS.get(name)
    if commit is None or _COMMIT.fullmatch(commit) is None:
        raise CheckpointError(
            f"model {name!r} at revision {commit!r}: there is no such folder, and a hub model is only taken "
            f"at a full commit: name it as {name}@COMMIT, of 40 hex digits (or pass revision=), or use "
            f"{' or '.join(REVISIONS)}"
        )
    return name, commit


def _split(model: str | Path) -> tuple[str, str, Layout]:
    """Returns a name's prefix, the rest of it, and the layout that the prefix stands for."""
    name = str(model)
    if isinstance(model, str) and name.startswith(ST_PREFIX):
        return ST_PREFIX, name.removeprefix(ST_PREFIX), SENTENCE_TRANSFORMERS
    return "", name, UME_R1


def _snapshot(model: str, commit: str, *, local_only: bool, cache_dir: Path | None = None) -> Path | None:
    """Returns the folder of a hub model; None if ``local_only`` and it is not here."""
    hub = _hub()
    try:
        return Path(
            hub.snapshot_download(
                model,
                revision=commit,
                allow_patterns=_WANTED,
                local_files_only=local_only,
                cache_dir=cache_dir,
            )
        )
    except hub.errors.LocalEntryNotFoundError as error:
        if local_only:
            return None
        raise _unavailable(model, commit, "the hub cannot be reached") from error
    except Exception as error:  # HTTP, offline mode, a full disk: the hub's errors share no base
        raise _unavailable(model, commit, f"{type(error).__name__}: {shorten(str(error), 200)}") from error


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingExtra(
            "a model from the hub needs huggingface_hub: pip install 'ume-r1-rag[transformers]', or use "
            f'the "{NANO}" checkpoint'
        ) from error
    return huggingface_hub


def _unavailable(model: str, commit: str, why: str) -> CheckpointError:
    model = _reference(model, commit)
    return CheckpointError(
        f"model {model!r} is not available ({why}): run `ume-r1 download {model}` where there is a network, "
        f'pass a folder that holds it, or use "{NANO}", which comes with the package'
    )


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint if its folder holds all that is needed."""
    missing = checkpoint.layout.missing(checkpoint.path)
    if missing:
        raise CheckpointError(f"{checkpoint.path} is no complete checkpoint: {'; '.join(missing)}")
    return checkpoint
