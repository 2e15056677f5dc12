"""What LlamaIndex's ecosystem expects of a package."""

import importlib
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


def test_llamahub_names_what_is_there():
    hub = PROJECT["tool"]["llamahub"]
    assert hub["import_path"] == "llama_index.embeddings.ume_r1"
    names = {
        name
        for kind in ("embeddings", "retrievers")
        for name in importlib.import_module(f"llama_index.{kind}.ume_r1").__all__
    }
    assert set(hub["class_authors"]) <= names


def test_classifiers_say_that_it_is_typed():
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
