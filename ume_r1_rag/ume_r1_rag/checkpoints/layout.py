"""Layout: which files make a checkpoint, by the kind of model that it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ume_r1_rag.errors import CheckpointError

_LOADED = (".json", ".jinja", ".model", ".safetensors", ".txt")
"""What sentence-transformers may load of a folder; its README is for people."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checkpoint's folder holds.

    Attributes:
        missing: returns what a folder lacks, each with its remedy; nothing if it is complete.
        files: returns the names below a folder on which vectors depend, in a fixed order.
    """

    missing: Callable[[Path], list[str]]
    files: Callable[[Path], list[str]]


def _ume_r1_missing(folder: Path) -> list[str]:
    """Returns what a folder lacks of a checkpoint, each with its remedy."""
    missing = []
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return ["it holds an adapter only, merge it into its base model and save that"]
    if not (folder / "config.json").is_file():
        missing.append("config.json is not there, pass the folder that save_pretrained wrote")
    if not _tokenizer_files(folder):
        missing.append("tokenizer.json is not there, save the tokenizer into the same folder")
    weights = _weight_files(folder)
    if not weights:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        missing.append(
            "its weights are pickles, which are not loaded, save them as safetensors"
            if pickled
            else "there is no *.safetensors, copy the weights into it"
        )
    shards = _indexed(folder / "model.safetensors.index.json") - set(weights)
    if weights and shards:
        missing.append(f"{len(shards)} weight files are not there ({min(shards)}), download it again")
    return missing


def _tokenizer_files(folder: Path) -> list[str]:
    for names in (["tokenizer.json"], ["merges.txt", "vocab.json"]):
        if all((folder / name).is_file() for name in names):
            return names
    return []


def _weight_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


def _indexed(index: Path) -> set[str]:
    """Returns the weight files that an index names; none if there is no index."""
    if not index.is_file():
        return set()
    try:
        return {str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is broken: download it again") from error


def _ume_r1_files(folder: Path) -> list[str]:
    return ["config.json", *_tokenizer_files(folder), *_weight_files(folder)]


def _st_missing(folder: Path) -> list[str]:
    if not (folder / "modules.json").is_file():
        saved = "save it with sentence-transformers"
        return [f"modules.json is not there, so it is no sentence-transformers model, {saved}"]
    pickled = {path.parent for pattern in ("*.bin", "*.pt", "*.pkl") for path in folder.rglob(pattern)}
    pickled -= {path.parent for path in folder.rglob("*.safetensors")}
    if pickled:
        names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in pickled))
        return [f"the weights in {names} are pickles, which are not loaded, save them as safetensors"]
    if not any(folder.rglob("*.safetensors")):
        return ["there is no *.safetensors, copy the weights into it"]
    return []


def _st_files(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.suffix in _LOADED and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


UME_R1 = Layout(_ume_r1_missing, _ume_r1_files)
SENTENCE_TRANSFORMERS = Layout(_st_missing, _st_files)
