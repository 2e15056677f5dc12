"""What a search takes for a query: strings are text, and a picture alone is asked for its like."""

import asyncio
from pathlib import Path

import pytest
from fake_encoder import FakeEncoder

from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.types import Document, MultimodalInput


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def retriever(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        index.upsert([Document("a", "text", MultimodalInput(text="a"))], [encoder.encode("a", "both")])
        yield Retriever(encoder, index)


@pytest.mark.parametrize(
    ("query", "instruction"),
    [
        (Path("red.png"), "Represent the given image."),
        ({"image": "red.png", "text": " "}, "Represent the given image."),
        (MultimodalInput(video="a.mp4"), "Understand the content of the provided video."),
        (MultimodalInput(images=("red.png",), instruction="Mine."), "Mine."),
        ({"image": "red.png", "text": "like this"}, None),
        ("words", None),
    ],
)
def test_a_picture_alone_is_encoded_as_the_documents_were(
    retriever, encoder, query, instruction, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("red.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"never read")
    retriever.search(query)
    assert encoder.calls[-1][0].instruction == instruction
    retriever.search(query, kind="image")
    assert encoder.calls[-1][0].instruction == (instruction if instruction == "Mine." else None)


@pytest.mark.parametrize(
    "name", ["red.png", "folder/red.png", "https://a.example/red.png", "data:image/png;,AA"]
)
def test_a_string_is_text_and_opens_nothing(retriever, encoder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("red.png").write_bytes(b"never read")
    if name == "red.png":
        name = str(Path(name).absolute())
    expected = MultimodalInput(text=name)
    retriever.search(name)
    assert encoder.calls[-1][0] == expected
    assert retriever.search(name, mode="fused").spaces == ("disc", "gen", "text")
    retriever.search_batch([name, name])
    assert encoder.calls[-1][0] == [expected, expected]
    asyncio.run(retriever.asearch(name))
    assert encoder.calls[-1][0] == expected
    asyncio.run(retriever.asearch_batch([name]))
    assert encoder.calls[-1][0] == expected
