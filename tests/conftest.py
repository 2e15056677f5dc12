"""What all tests share: where a test cannot run, and why."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Tests are no package; helpers that are more than a fixture stand beside this file.
sys.path.append(str(Path(__file__).parent))
import official
from hash_encoder import HashEncoder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU or vLLM on a machine without."""
    for item in items:
        if item.get_closest_marker("vllm") and find_spec("vllm") is None:
            item.add_marker(pytest.mark.skip(reason='needs the vllm extra: pip install "ume-r1-rag[vllm]"'))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def nano_encoder():
    """The model in the package, loaded once for all tests; they may not change it."""
    from ume_r1_rag import UmeR1Encoder

    return UmeR1Encoder("nano", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def make_encoder():
    """Makes cheap encoders: ``make_encoder(dimension=32, model="m1", spaces=…, fail=…)``."""
    return HashEncoder


@pytest.fixture
def qdrant_app():
    """A Qdrant REST interface over loopback, with a key; it shows the wire and no server, see its module."""
    from qdrant_app import QdrantApp

    with QdrantApp(api_key="a key") as app:
        yield app
        assert app.broken == []


@pytest.fixture(params=["embedded", "loopback", "server"])
def store(request):
    """A place for indexes, in each of three kinds; see ``stores.py``."""
    from qdrant_client import QdrantClient
    from stores import Store

    if request.param == "server" and not os.environ.get("QDRANT_URL"):
        pytest.skip("needs a Qdrant server: set QDRANT_URL, and QDRANT_API_KEY if it has a key")
    if request.param == "loopback":
        app = request.getfixturevalue("qdrant_app")
        store = Store("loopback", app, url=app.url, api_key=app.api_key)
    elif request.param == "embedded":
        store = Store("embedded", client=QdrantClient(":memory:"))
    else:
        store = Store("server")  # which is found as users have it found: by the environment
    yield store
    store.clear()


@pytest.fixture(scope="session")
def official_checkpoint(tmp_path_factory):
    """A tiny random checkpoint in the layout of the released ones; see ``official.py``."""
    return official.build(tmp_path_factory.mktemp("official"))
