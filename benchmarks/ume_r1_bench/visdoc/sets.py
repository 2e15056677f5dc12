"""Sets: the public test sets by name, and where each is had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ume_r1_bench.visdoc.beir import hub_rows, local_rows, read_beir
from ume_r1_bench.visdoc.corpus import Corpus, VisdocError
from ume_r1_bench.visdoc.papers import read_mmlongbench, read_vidoseek


@dataclass(frozen=True, slots=True)
class TestSet:
    """A public test set.

    Attributes:
        name: by which it is asked for.
        reader: what reads it.
        hub: its repository on the hub.
        split: of it, where it has some.
        language: of the questions that are asked, where it has several.
    """

    # pytest would take a class of this name for a test case.
    __test__ = False

    name: str
    reader: Literal["beir", "vidoseek", "mmlongbench"]
    hub: str
    split: str = "test"
    language: str | None = None


@lru_cache(maxsize=1)
def test_sets() -> Mapping[str, TestSet]:
    """Returns the test sets by name."""
    text = (files("ume_r1_bench.visdoc") / "data" / "sets.json").read_text(encoding="utf-8")
    return {name: TestSet(name, **fields) for name, fields in json.loads(text)["sets"].items()}


test_sets.__test__ = False  # type: ignore[attr-defined]


def read_set(name: str, data: Path | None, pictures: Path, language: str | None = None) -> Corpus:
    """Returns a public test set.

    Args:
        name: which one.
        data: the folder that it was downloaded to; None asks the hub, which honours ``HF_HUB_OFFLINE``.
        pictures: a folder for pages that come inside of Parquet.
        language: of the questions; by default the set's own, ``"all"`` for all.

    Raises:
        VisdocError: there is no such set, or it is not where it should be.
    """
    chosen = test_sets().get(name)
    if chosen is None:
        known = ", ".join(test_sets())
        raise VisdocError(f"there is no test set {name!r}: choose one of {known}")
    asked = None if language == "all" else language or chosen.language
    if chosen.reader == "beir" and data is not None:
        return read_beir(name, local_rows(data), pictures, asked, data)
    if chosen.reader == "beir":
        try:
            return read_beir(name, hub_rows(chosen.hub, chosen.split), pictures, asked)
        except (OSError, ValueError) as error:
            raise VisdocError(
                f"{chosen.hub} cannot be had from the hub ({str(error)[:200]}): download it elsewhere with "
                f"`hf download --repo-type dataset {chosen.hub} --local-dir DIR`, and give --data DIR"
            ) from error
    folder = data if data is not None else _download(chosen)
    return read_vidoseek(folder) if chosen.reader == "vidoseek" else read_mmlongbench(folder)


def _download(chosen: TestSet) -> Path:
    """Returns the folder of a set of PDFs, its archives unpacked."""
    import zipfile

    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(chosen.hub, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise VisdocError(
            f"{chosen.hub} cannot be had from the hub ({str(error)[:200]}): download it elsewhere, unpack "
            "its PDFs, and give --data DIR"
        ) from error
    for archive in folder.glob("*.zip"):
        into = archive.with_suffix("")
        if not into.is_dir():
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(into)
    return folder
