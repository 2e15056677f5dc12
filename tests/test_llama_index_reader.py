"""UmeR1Reader: a folder as nodes."""

import logging

import pytest
from llama_index.core.schema import ImageNode, Node, TextNode
from PIL import Image

from llama_index.embeddings.ume_r1 import node_input
from llama_index.retrievers.ume_r1 import UmeR1Reader
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.frameworks import PageImages
from ume_r1_rag.ingest import documents


@pytest.fixture
def reader(tmp_path):
    return UmeR1Reader(tmp_path / "pages")


def test_every_file_becomes_nodes_that_hold_paths(reader, shapes, tmp_path):
    nodes = {(node.metadata["title"], node.metadata.get("page")): node for node in reader.load_nodes(shapes)}
    assert {key: type(node) for key, node in nodes.items()} == {
        ("blue.png", None): ImageNode,
        ("clip.mp4", None): Node,
        ("note.txt", None): TextNode,
        ("paper.pdf", 1): ImageNode,
        ("paper.pdf", 2): ImageNode,
        ("red.png", None): ImageNode,
    }
    assert nodes["red.png", None].image_path == str(shapes / "red.png")
    assert nodes["paper.pdf", 2].image_path.startswith(str(tmp_path / "pages"))
    assert nodes["paper.pdf", 2].text == "tide b7m"
    assert nodes["clip.mp4", None].video_resource.path == shapes / "clip.mp4"
    assert nodes["clip.mp4", None].metadata["span_s"] == [0.0, 2.0]
    assert all(getattr(node, "image", None) is None for node in nodes.values())
    assert all(node.get_content().strip() for node in nodes.values())  # LlamaIndex drops what has no text


async def test_ids_are_unique_and_stay(reader, shapes, tmp_path):
    first = [node.node_id for node in reader.load_nodes(shapes)]
    again = await UmeR1Reader(tmp_path / "elsewhere").aload_nodes([shapes / "paper.pdf", shapes])
    assert len(set(first)) == len(first)
    assert set(first) == {node.node_id for node in again}


def test_what_is_embedded_is_what_ingest_embeds(shapes, tmp_path, nano_encoder):
    reader = UmeR1Reader(tmp_path, embed_model=nano_encoder)
    for node, document in zip(
        reader.load_nodes(shapes), documents(shapes, encoder=nano_encoder), strict=True
    ):
        item = node_input(node, nano_encoder.max_video_frames)
        assert (item.text, item.instruction) == (document.input.text, document.input.instruction)
        if document.kind in ("page", "image"):
            with Image.open(item.images[0]) as seen:
                assert seen.convert("RGB").tobytes() == document.input.images[0].tobytes()
        if document.kind == "clip":
            assert [one.tobytes() for one in item.video] == [one.tobytes() for one in document.input.video]


def test_what_cannot_be_read_is_kept_and_said(reader, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "in" / "data.bin").write_bytes(b"x")
    (tmp_path / "in" / "note.txt").write_text("a note", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        (node,) = reader.load_nodes(tmp_path / "in")
    assert node.text == "a note"
    assert [failure.title for failure in reader.failures] == ["broken.pdf"]
    assert "broken.pdf" in caplog.text
    assert len(reader.skipped) == 1


def test_page_pictures_go_where_they_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("UME_R1_PAGE_IMAGES", str(tmp_path / "told"))
    assert PageImages().folder == tmp_path / "told"
    monkeypatch.delenv("UME_R1_PAGE_IMAGES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert PageImages().folder == tmp_path / "ume-r1" / "pages"
    with pytest.raises(ConfigError, match="max_pixels=0"):
        PageImages(max_pixels=0)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        PageImages(tmp_path / "file").of_thumbnail({"ume_thumbnail": "eA=="})
