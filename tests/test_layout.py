"""The rooms and their names, the lazy package, and what may not stand in a tracked file."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import ume_r1_rag
from ume_r1_rag.errors import MissingExtra

ROOT = Path(__file__).resolve().parent.parent

ROOMS = {
    "ume_r1_rag": "ume_r1_rag/ume_r1_rag",
    "ume_r1_trainer": "trainer/ume_r1_trainer",
    "ume_r1_bench": "benchmarks/ume_r1_bench",
    "langchain_ume_r1": "integrations/langchain_ume_r1",
    "llama_index.embeddings.ume_r1": "integrations/llama_index/embeddings/ume_r1",
    "llama_index.retrievers.ume_r1": "integrations/llama_index/retrievers/ume_r1",
}

PUBLIC = [
    "CachedEncoder",
    "Document",
    "Embedding",
    "Encoder",
    "Hit",
    "MultimodalInput",
    "QdrantIndex",
    "RemoteEncoder",
    "Retriever",
    "SentenceTransformerEncoder",
    "UmeR1Encoder",
    "UmeR1Error",
    "nano_path",
]

# What `import ume_r1_rag` must not load. numpy and PIL stand for all that builds on them.
HEAVY = (
    "accelerate",
    "av",
    "langchain_core",
    "llama_index",
    "mteb",
    "numpy",
    "fastapi",
    "httpx",
    "PIL",
    "pydantic",
    "pypdfium2",
    "qdrant_client",
    "sentence_transformers",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
    "typer",
    "vllm",
)

PROBE = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
import ume_r1_rag
seconds = time.perf_counter() - start
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"seconds": seconds, "loaded": sorted(loaded), "names": sorted(vars(ume_r1_rag))}))
"""


def probe() -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(result.stdout)


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(("name", "folder"), ROOMS.items())
def test_every_room_is_imported_from_its_folder(name: str, folder: str):
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").resolve().parent == ROOT / folder


@pytest.mark.parametrize("name", ROOMS)
def test_every_room_is_typed(name: str):
    assert resources.files(name).joinpath("py.typed").is_file()


@pytest.mark.parametrize("folder", ["llama_index", "llama_index/embeddings", "llama_index/retrievers"])
def test_llama_index_stays_a_namespace(folder: str):
    assert not (ROOT / "integrations" / folder / "__init__.py").exists()


def test_llama_index_itself_is_importable_beside_our_part():
    assert importlib.import_module("llama_index.core").__file__


def test_every_folder_of_modules_is_a_package():
    for folder in ROOMS.values():
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} lacks an __init__.py"


def test_import_is_quick_and_light():
    runs = [probe() for _ in range(3)]
    assert min(run["seconds"] for run in runs) < 0.5
    assert not set(HEAVY) & set(runs[0]["loaded"])


def test_public_names_are_pinned_and_sorted():
    assert ume_r1_rag.__all__ == PUBLIC
    assert sorted(ume_r1_rag.__all__) == ume_r1_rag.__all__


def test_no_public_name_is_loaded_by_the_import():
    assert not set(PUBLIC) & set(probe()["names"])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_had_on_first_use(name: str):
    value = getattr(ume_r1_rag, name)
    assert value.__name__ == name
    assert vars(ume_r1_rag)[name] is value, "kept for the next use"


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ume_r1_rag.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    mirror = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert mirror == ume_r1_rag._LAZY
    assert set(mirror) == set(ume_r1_rag.__all__)


def test_dir_lists_what_can_be_loaded():
    assert {*PUBLIC, "__version__"} <= set(dir(ume_r1_rag))


def test_version_is_the_distributions():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", ume_r1_rag.__version__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Encodr'"):
        ume_r1_rag.Encodr  # noqa: B018


def test_a_missing_dependency_names_its_extra(monkeypatch: pytest.MonkeyPatch):
    def without_torch(module: str) -> object:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    monkeypatch.setattr(importlib, "import_module", without_torch)
    monkeypatch.delitem(vars(ume_r1_rag), "UmeR1Encoder", raising=False)
    with pytest.raises(
        MissingExtra, match=r'needs torch.*pip install "ume-r1-rag\[transformers\]"'
    ) as caught:
        ume_r1_rag.UmeR1Encoder  # noqa: B018
    assert isinstance(caught.value, ImportError)


def test_a_missing_module_of_our_own_is_not_disguised(monkeypatch: pytest.MonkeyPatch):
    def broken(module: str) -> object:
        raise ModuleNotFoundError("No module named 'ume_r1_rag.gone'", name="ume_r1_rag.gone")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.delitem(vars(ume_r1_rag), "UmeR1Encoder", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"ume_r1_rag\.gone"):
        ume_r1_rag.UmeR1Encoder  # noqa: B018


# Taken apart, so that this file passes its own test.
FORBIDDEN = {
    "a home or work folder": re.compile(
        r"(?<![\w.~/-])/(?:home|root|Users|work|workspace|opt)" + r"/[\w.-]+"
    ),
    "a Windows path": re.compile(r"\b[A-Z]:" + r"\\Users\\"),
    "a registry host": re.compile(
        "|".join(
            [r"pypi\." + "org", r"python" + r"hosted\.", r"download\.py" + "torch", r"anaconda\." + "org"]
        )
    ),
}


def test_tracked_text_names_no_machine_and_no_registry():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and weights
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: {what}: {match[0]}")
    assert not found, "\n".join(found)
