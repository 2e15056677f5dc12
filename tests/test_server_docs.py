"""``docs/server.md`` and ``docs/docker-compose.yml``: what they say is what the code says.

``python tests/test_server_docs.py`` writes the table of sizes anew.
"""

import itertools
import re
import shlex
from pathlib import Path

import pytest
from points import CORPUS, FINGERPRINT

from ume_r1_rag.cli.store import storage_of
from ume_r1_rag.index import QdrantIndex, Storage
from ume_r1_rag.index.server import OLDEST, OLDEST_WITH_TENANTS

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(r"(?<=<!-- made by tests/test_server_docs.py -->\n).*(?=<!-- end -->)", re.DOTALL)
DIMENSIONS = (1536, 3584)
STORAGES = {
    "as it is by default, float32": Storage(),
    "float16": Storage(datatype="float16"),
    "int8 beside float32": Storage(quantization="int8"),
    "int8, float32 on disk": Storage(quantization="int8", on_disk=True),
    "int8, float16 on disk": Storage(quantization="int8", on_disk=True, datatype="float16"),
    "binary, float16 on disk": Storage(quantization="binary", on_disk=True, datatype="float16"),
}

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


def text():
    return (DOCS / "server.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text(), re.MULTILINE | re.DOTALL)


def table():
    lines = [
        "| storage | D = 1,536: disk | memory | D = 3,584: disk | memory |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, storage in STORAGES.items():
        sizes = [storage.bytes_per_point(dimension) for dimension in DIMENSIONS]
        cells = [f"{bytes / 1000:.1f}" for size in sizes for bytes in (size.disk, size.memory)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_sizes_are_those_of_the_storage():
    found = TABLE.search(text())
    assert found is not None
    assert found[0] == table(), "run: python tests/test_server_docs.py"
    assert len(table().splitlines()) == 2 + len(STORAGES)


def test_the_versions_are_those_that_are_checked():
    needed = [".".join(map(str, version)) for version in (OLDEST, OLDEST_WITH_TENANTS)]
    assert re.findall(r"\*\*(?:Qdrant )?(1\.\d+)\*\*", text()) == needed
    image = re.search(r"image: qdrant/qdrant:v(\d+)\.(\d+)\.\d+$", compose(), re.MULTILINE)
    assert image is not None
    assert (int(image[1]), int(image[2])) >= OLDEST_WITH_TENANTS


def compose():
    return (DOCS / "docker-compose.yml").read_text(encoding="utf-8")


def test_the_server_has_a_key_a_volume_and_no_open_door():
    yaml = pytest.importorskip("yaml")
    described = yaml.safe_load(compose())
    (service,) = described["services"].values()
    assert service["environment"]["QDRANT__SERVICE__API_KEY"].startswith("${QDRANT_API_KEY:?")
    assert service["ports"] == ["127.0.0.1:6333:6333", "127.0.0.1:6334:6334"]
    (volume,) = service["volumes"]
    name, _, inside = volume.partition(":")
    assert inside == "/qdrant/storage"
    assert name in described["volumes"]
    assert "NOT RUN HERE" in compose().split("services:")[0]


def test_the_settings_are_those_of_the_storage():
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*? \|", text(), re.MULTILINE))))
    assert named == set(Storage().to_metadata())
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if "--storage" in line]
    words = shlex.split(line)
    given = [value for option, value in itertools.pairwise(words) if option == "--storage"]
    assert storage_of(given) == STORAGES["int8, float16 on disk"]


def test_the_python_runs_as_it_stands(qdrant_app, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QDRANT_URL", qdrant_app.url)
    monkeypatch.setenv("QDRANT_API_KEY", qdrant_app.api_key)
    with QdrantIndex("my-index", collection="papers", fingerprint=FINGERPRINT) as folder:
        folder.upsert(*zip(*CORPUS, strict=True))
        expected = [(hit.id, hit.payload) for hit in folder.scroll()]
    look, move = blocks("python")
    shared = {}
    for _ in range(2):  # it may be repeated
        exec(look.partition("\n\n")[0] + "\n" + move, shared)
    exec(look, shared)
    assert capsys.readouterr().out == f"{qdrant_app.url} 4 {{'disc': 3, 'gen': 3, 'text': 4}}\n"
    with QdrantIndex(collection="papers") as server:
        assert [(hit.id, hit.payload) for hit in server.scroll()] == expected
        assert not server.info().deferred


if __name__ == "__main__":
    (DOCS / "server.md").write_text(TABLE.sub(table(), text()), encoding="utf-8")
