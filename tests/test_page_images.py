"""PageImages: pages as files, kept to a size; a page that was deleted is drawn again."""

import os

import pytest
from made_files import text_pdf
from PIL import Image, ImageChops

from llama_index.embeddings.ume_r1 import node_input
from llama_index.retrievers.ume_r1 import UmeR1Reader
from ume_r1_rag.errors import ConfigError, FileGone, InputError
from ume_r1_rag.frameworks import PageImages
from ume_r1_rag.ingest import documents


@pytest.fixture
def pdf(tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(text_pdf(["one", "two", "three", "four"]))
    return path


@pytest.fixture
def pages(pdf):
    return [one for one in documents(pdf) if one.kind == "page"]


def payload(page):
    names = ("key", "uri", "title", "document", "content_hash")
    return {f"ume_{name}": getattr(page, name) for name in names}


def test_a_folder_is_kept_to_its_size_and_what_was_asked_for_last_stays(pages, tmp_path):
    folder = tmp_path / "drawn"
    size = PageImages(folder).of_document(pages[0]).stat().st_size
    (folder / "of-somebody-else.png").write_bytes(b"x" * 10 * size)
    kept = PageImages(folder, max_bytes=int(2.5 * size))
    first, second = kept.of_document(pages[0]), kept.of_document(pages[1])
    for age, path in ((100, first), (200, second)):
        os.utime(path, (path.stat().st_atime - age,) * 2)
    assert kept.of_payload(payload(pages[1])) == second, "asked for: the youngest now"
    third, fourth = kept.of_payload(payload(pages[2])), kept.of_payload(payload(pages[3]))
    assert fourth.is_file()
    ours = [path for path in folder.iterdir() if path.name != "of-somebody-else.png"]
    assert sum(path.stat().st_size for path in ours) <= 2.5 * size + size
    assert not first.exists(), "what was not asked for longest goes first"
    assert (folder / "of-somebody-else.png").exists()
    assert kept.of_payload(payload(pages[0])).is_file(), "drawn again"
    assert third.parent == folder
    with pytest.raises(ConfigError, match="max_bytes=0"):
        PageImages(max_bytes=0)


def test_a_picture_and_a_file_of_a_page_are_one_drawing(pages, tmp_path, monkeypatch):
    kept = PageImages(tmp_path / "drawn")
    path = kept.of_payload(payload(pages[0]))
    monkeypatch.setattr(kept, "_drawn", lambda _: pytest.fail("drawn twice"))
    with Image.open(path) as file:
        assert not ImageChops.difference(
            file.convert("RGB"), kept.image(payload(pages[0])).convert("RGB")
        ).getbbox()


def test_a_pdf_that_is_gone_or_has_changed_is_not_shown(pages, pdf, tmp_path):
    kept = PageImages(tmp_path / "drawn")
    kept.image(payload(pages[0]))
    pdf.write_bytes(text_pdf(["other"]))
    with pytest.raises(InputError, match="has changed"):
        kept.image(payload(pages[0]))
    pdf.unlink()
    with pytest.raises(FileGone):
        kept.of_payload(payload(pages[0]))


def test_a_node_whose_page_picture_was_deleted_is_drawn_again(pdf, tmp_path, nano_encoder):
    nodes = UmeR1Reader(tmp_path / "drawn", embed_model=nano_encoder).load_nodes(pdf)
    before = nano_encoder.encode_document(node_input(nodes[1]))
    for path in (tmp_path / "drawn").iterdir():
        path.unlink()
    item = node_input(nodes[1], max_pixels=nano_encoder.max_image_pixels)
    assert float(before.disc @ nano_encoder.encode_document(item).disc) == pytest.approx(1, abs=1e-4)
    pdf.unlink()
    with pytest.raises(InputError, match="is gone"):
        node_input(nodes[1])
