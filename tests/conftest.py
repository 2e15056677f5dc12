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

VLLM = {
    "in_process": True,
    "enforce_eager": True,
    "max_num_seqs": 32,
    "max_num_batched_tokens": 256,
    "kv_cache_memory_bytes": 2**28,
}
"""How the tests run vLLM: little memory, no compilation, prompts cut into small chunks."""

_SERVER = os.environ.get("QDRANT_URL")
_SERVERS = ["server", "server over grpc"] if _SERVER else ["server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU or vLLM on a machine without; in CI, vLLM is there or its tests fail."""
    no_vllm = find_spec("vllm") is None and os.environ.get("CI") != "true"
    for item in items:
        if item.get_closest_marker("vllm") and no_vllm:
            item.add_marker(pytest.mark.skip(reason='needs the vllm extra: pip install "ume-r1-rag[vllm]"'))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def page_images(tmp_path_factory):
    """Where pages are drawn to: not the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UME_R1_PAGE_IMAGES", str(tmp_path_factory.mktemp("page-images")))
        yield


@pytest.fixture(scope="session")
def nano_encoder():
    """The model in the package, loaded once for all tests; they may not change it."""
    from ume_r1_rag import UmeR1Encoder

    return UmeR1Encoder("nano", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def vllm_backends(nano_encoder):
    """nano on vLLM, ``vllm_backends("one-engine")`` or ``("two-pass")``, one at a time; None closes it."""
    from ume_r1_rag.backends.vllm.backend import VllmBackend

    held = {}

    def backend(way):
        if way not in held:
            for other in list(held):
                held.pop(other).close()
        if way and way not in held:
            held[way] = VllmBackend(
                nano_encoder.model_path, nano_encoder.preset, dtype="float32", options={**VLLM, "way": way}
            )
        return held.get(way)

    yield backend
    for one in held.values():
        one.close()


@pytest.fixture
def vllm_backend(vllm_backends):
    """nano on one vLLM engine in this process; tests may not change it."""
    return vllm_backends("one-engine")


@pytest.fixture
def vllm_encoder(vllm_backend, nano_encoder):
    """An encoder around the backend of all tests, without a second engine."""
    made = object.__new__(type(nano_encoder))
    made.__dict__.update(nano_encoder.__dict__)
    made.backend = vllm_backend
    return made


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


@pytest.fixture(params=["embedded", "loopback", "grpc", *_SERVERS])
def store(request):
    """A place for indexes, of each kind; see ``stores.py``."""
    from stores import Store

    if request.param in _SERVERS and not _SERVER:
        pytest.skip("needs a Qdrant server: set QDRANT_URL, and QDRANT_API_KEY if it has a key")
    if request.param == "loopback":
        app = request.getfixturevalue("qdrant_app")
        store = Store("loopback", app, url=app.url, api_key=app.api_key)
    elif request.param == "grpc":
        store = Store("grpc", client=request.getfixturevalue("grpc_client"))
    elif request.param == "embedded":
        store = Store.embedded()
    else:  # found as users have it found: by the environment
        store = Store("server", prefer_grpc=request.param != "server")
    yield store
    store.clear()


@pytest.fixture
def grpc_client(qdrant_app):
    """A client that talks gRPC over loopback; see ``qdrant_grpc.py``."""
    from qdrant_client import QdrantClient
    from qdrant_grpc import GrpcApp

    with GrpcApp(qdrant_app) as front:
        client = QdrantClient(
            url=qdrant_app.url,
            api_key=qdrant_app.api_key,
            grpc_port=front.port,
            prefer_grpc=True,
            check_compatibility=False,
        )
        yield client
        client.close()
        # What the client still asks by the other interface would show nothing of this one.
        assert qdrant_app.requests == []


@pytest.fixture(scope="session")
def official_checkpoint(tmp_path_factory):
    """A tiny random checkpoint in the layout of the released ones; see ``official.py``."""
    return official.build(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder of small files: two pictures, a PDF of two pages with text, a clip and a text."""
    from made_files import text_pdf, write_clip
    from PIL import Image

    folder = tmp_path_factory.mktemp("shapes")
    Image.new("RGB", (84, 84), "red").save(folder / "red.png")
    Image.new("RGB", (84, 84), "blue").save(folder / "blue.png")
    (folder / "paper.pdf").write_bytes(text_pdf(["rent k4t", "tide b7m"], box=(200, 200)))
    write_clip(folder / "clip.mp4")
    (folder / "note.txt").write_text("a note about harbors\n", encoding="utf-8")
    return folder


@pytest.fixture
def recording(nano_encoder):
    """nano, with a note of what it was asked."""
    from recording import Recording

    return Recording(nano_encoder)
