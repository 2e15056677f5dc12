"""Sources: files as documents, their content hashes, and stored points' documents again."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import HashEncoder
from made_files import text_pdf, write_clip, write_pdf
from PIL import Image

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import MAX_TEXT_BYTES, Failure, documents, ingest, reread
from ume_r1_rag.ingest.files import File
from ume_r1_rag.ingest.opened import Clips, ReadOptions, open_file
from ume_r1_rag.ingest.segments import segments
from ume_r1_rag.media import Span
from ume_r1_rag.types import Document


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    write_pdf(tmp_path / "b.pdf", 3)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.PNG")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "sub" / "z.jpg")
    write_clip(tmp_path / "sub" / "clip.mp4")
    (tmp_path / "notes.md").write_text("# Notes\n", encoding="utf-8")
    return tmp_path


def name(item):
    """What a person calls a document: its title, with the page."""
    return item.title if item.page is None else f"{item.title}#page={item.page}"


def one(path, **options):
    (item,) = documents(path, **options)
    return item


def test_each_kind_of_file_becomes_its_documents(folder):
    found = {name(item): item for item in documents(folder)}
    assert list(found) == [
        "a.PNG", "b.pdf#page=1", "b.pdf#page=2", "b.pdf#page=3", "notes.md", "sub/clip.mp4", "sub/z.jpg",
    ]  # fmt: skip
    assert [item.key for item in found.values()] == [f"{folder.resolve()}/{shown}" for shown in found]
    assert {item.document for item in found.values() if item.page} == {f"{folder.resolve()}/b.pdf"}
    assert [item.kind for item in found.values()] == ["image", *["page"] * 3, "text", "clip", "image"]
    picture, page, text, clip = (found[k] for k in ("a.PNG", "b.pdf#page=2", "notes.md", "sub/clip.mp4"))
    assert picture.input.images[0].getpixel((5, 5)) == (255, 0, 0)
    assert picture.input.instruction == "Represent the given image."
    assert picture.thumbnail.startswith(b"\xff\xd8")
    assert page.input.instruction == "Understand the content of the provided document image."
    assert page.input.text is None
    assert (page.page, page.uri, page.title) == (2, str(folder / "b.pdf"), "b.pdf")
    assert text.input.instruction is None
    assert text.input.text == text.text == "# Notes\n"
    assert clip.input.instruction == "Understand the content of the provided video."
    assert clip.span_s == pytest.approx((0.0, 2.0), abs=0.01)
    assert [frame.getpixel((5, 5))[0] // 40 for frame in clip.input.video] == pytest.approx(range(6), abs=1)
    assert clip.thumbnail.startswith(b"\xff\xd8")
    assert len({item.content_hash for item in found.values()}) == len(found)


def test_pages_are_rendered_within_the_limit_and_bear_their_text(tmp_path):
    (tmp_path / "text.pdf").write_bytes(text_pdf(["Revenue 42"]))
    page = one(tmp_path / "text.pdf", max_page_pixels=10_000)
    assert page.key == f"{tmp_path.resolve()}/text.pdf#page=1"
    assert page.text == "Revenue 42"
    (image,) = page.input.images
    assert image.width * image.height <= 10_000
    assert max(Image.open(BytesIO(page.thumbnail)).size) > max(image.size)
    for wrong in ({"max_page_pixels": 0}, {"segment_s": 0}, {"segment_s": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            documents(tmp_path, **wrong)


def test_documents_stream(folder, monkeypatch):
    from ume_r1_rag.media import PdfPages

    rendered = []
    render = PdfPages.render
    monkeypatch.setattr(
        PdfPages, "render", lambda self, page, pixels: rendered.append(page) or render(self, page, pixels)
    )
    stream = documents(folder / "b.pdf")
    assert rendered == []
    next(stream)
    assert set(rendered) == {1}


def test_one_bad_page_does_not_cost_the_others(folder, monkeypatch):
    from ume_r1_rag.media import PdfPages

    render = PdfPages.render

    def breaks(self, page, max_pixels):
        if page == 2:
            raise ZeroDivisionError("odd page")
        return render(self, page, max_pixels)

    monkeypatch.setattr(PdfPages, "render", breaks)
    first, second, third = documents(folder / "b.pdf")
    assert (name(first), name(third)) == ("b.pdf#page=1", "b.pdf#page=3")
    assert isinstance(second, Failure)
    assert (second.name, second.part, second.title) == ("b.pdf#page=2", "page=2", "b.pdf")
    assert (second.key, second.document) == (f"{folder.resolve()}/b.pdf#page=2", f"{folder.resolve()}/b.pdf")
    assert "ZeroDivisionError: odd page" in second.reason


# Segments


@pytest.mark.parametrize(
    ("duration", "spans"),
    [
        (0.0, [Span(0, None)]),
        (12.0, [Span(0, None)]),
        (44.9, [Span(0, None)]),
        (45.0, [Span(0, 30), Span(30, None)]),
        (60.0, [Span(0, 30), Span(30, None)]),
        (74.0, [Span(0, 30), Span(30, None)]),
        (100.0, [Span(0, 30), Span(30, 60), Span(60, None)]),
    ],
)
def test_spans(duration, spans):
    assert segments(duration) == spans


def test_a_long_video_gives_segments_with_the_frames_of_their_spans_alone(tmp_path):
    write_clip(tmp_path / "talk.mp4", frames=6, rate=1)
    found = list(documents(tmp_path, segment_s=2))
    key = f"{tmp_path.resolve()}/talk.mp4"
    assert [item.key for item in found] == [f"{key}#clip={number}" for number in (1, 2, 3)]
    assert {item.document for item in found} == {key}
    assert [item.span_s for item in found] == [(0, 2), (2, 4), (4, 6)]
    shades = [[round(frame.getpixel((30, 30))[0] / 40) for frame in item.input.video] for item in found]
    assert shades == [[0, 1], [2, 3], [4, 5]]
    assert one(tmp_path, segment_s=9).key == key


# Texts


def test_texts_are_read_by_their_byte_order_mark_else_as_utf8(tmp_path):
    for coding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "x.txt").write_bytes("naïve 漢".encode(coding))
        assert one(tmp_path).text == "naïve 漢"
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    assert one(tmp_path).text == "caf\ufffd"
    (tmp_path / "x.txt").write_bytes(b"x" * (MAX_TEXT_BYTES + 1))
    assert "split it into parts" in one(tmp_path).reason


# Content hashes


def hash_of(path, **options):
    return one(path, **options).content_hash


def test_a_content_hash_is_of_bytes_and_of_how_they_were_read(tmp_path):
    path = tmp_path / "x.pdf"
    path.write_bytes(text_pdf(["one"]))
    first = hash_of(path)
    assert first == hash_of(path)
    (tmp_path / "y.pdf").write_bytes(path.read_bytes())
    assert hash_of(tmp_path / "y.pdf") == first, "not of the name"
    assert len({first, hash_of(path, max_page_pixels=5000), hash_of(path, max_page_pixels=6000)}) == 3
    path.write_bytes(text_pdf(["two"]))
    assert hash_of(path) != first
    write_clip(tmp_path / "c.mp4", rate=1)
    hashes = [[item.content_hash for item in documents(tmp_path / "c.mp4", segment_s=s)] for s in (2, 3, 9)]
    assert [len(one) for one in hashes] == [3, 2, 1]
    assert len({one for of in hashes for one in of}) == 6


def test_late_segments_of_a_long_video_are_told_apart(tmp_path):
    path = write_clip(tmp_path / "c.mp4")
    spans = [Span(1_000_000, 1_000_010), Span(1_000_010, 1_000_020.5), Span(1_000_020.5, None)]
    opened = Clips(File.at(str(path)), ReadOptions(), spans)
    hows = [opened.content_hash(number).split(";")[2] for number in (1, 2, 3)]
    assert hows == ["clip=1000000-1000010", "clip=1000010-1000020.5", "clip=1000020.5-"]


def test_what_the_encoder_decides_is_not_in_a_content_hash(tmp_path):
    path = tmp_path / "x.pdf"
    path.write_bytes(text_pdf(["one"]))
    small, large = ReadOptions(page_pixels=1000), ReadOptions(page_pixels=2000, frames=3)
    with open_file(File.at(str(path)), small) as a, open_file(File.at(str(path)), large) as b:
        assert a.content_hash(1) == b.content_hash(1)
        assert a.read(1).input.images[0].size != b.read(1).input.images[0].size


# Once more


@pytest.fixture
def stored(folder):
    """Every kind of document, indexed; its payloads by key."""
    write_clip(folder / "talk.mp4", frames=6, rate=1)
    encoder = HashEncoder()
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        assert ingest(encoder, index, folder, "disc", segment_s=2).failed == 0
        yield {hit.key: hit.payload for hit in index.scroll()}, encoder


def same(a: Document, b: Document) -> bool:
    pictures = [
        [np.asarray(one) for one in (*item.input.images, *(item.input.video or ()))] for item in (a, b)
    ]
    blank = [replace(item, input=replace(item.input, images=(), video=None, text="x")) for item in (a, b)]
    return (
        blank[0] == blank[1]
        and a.input.text == b.input.text
        and all(np.array_equal(x, y) for x, y in zip(*pictures, strict=True))
    )


def test_a_stored_document_is_read_again_as_it_was(stored, folder):
    payloads, encoder = stored
    pixels = encoder.max_image_pixels
    first = {item.key: item for item in documents(folder, segment_s=2)}
    assert set(first) == set(payloads)
    assert len(payloads) == 10
    for key, payload in payloads.items():
        again = reread(payload, max_frames=8)
        assert same(again, first[key]), key
        assert reread(payload, max_page_pixels=pixels).content_hash == first[key].content_hash
    page = next(payload for payload in payloads.values() if payload["ume_kind"] == "page")
    (small,) = reread(page, max_page_pixels=pixels).input.images
    assert small.width * small.height <= pixels


def test_pixels_that_were_asked_for_are_kept(tmp_path):
    (tmp_path / "x.pdf").write_bytes(text_pdf(["one"]))
    encoder = HashEncoder()
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, tmp_path, "disc", max_page_pixels=3000)
        (hit,) = index.scroll()
    (image,) = reread(hit.payload, max_page_pixels=10**6).input.images
    assert image.width * image.height <= 3000


def test_what_cannot_be_read_again_is_named(stored, folder):
    payloads, _ = stored
    payload = payloads[f"{folder.resolve()}/notes.md"]
    (folder / "notes.md").write_text("# Other notes\n")
    with pytest.raises(
        InputError, match=r"notes\.md' has changed since it was indexed \(SHA-256 .* index it"
    ):
        reread(payload)
    (folder / "notes.md").unlink()
    with pytest.raises(InputError, match=r"the file of notes\.md is gone"):
        reread(payload)
    for broken in ({}, {**payload, "ume_content_hash": "ab12"}, {**payload, "ume_content_hash": ""}):
        with pytest.raises(InputError, match="was not indexed from a file"):
            reread(broken)


def test_a_file_that_moved_is_found_by_the_path_it_was_reached_by(stored, folder):
    """Its links may lead elsewhere by now; what counts is the content."""
    payloads, _ = stored
    payload = dict(payloads[f"{folder.resolve()}/notes.md"])
    payload["ume_document"] = str(folder / "gone.md")
    assert reread(payload).text == "# Notes\n"
    relative = {**payload, "ume_uri": "notes.md"}
    with pytest.raises(InputError, match="is gone"):
        reread(relative)


def test_reading_a_file_again_hashes_it_once(stored, folder, monkeypatch):
    from ume_r1_rag.ingest import sources

    payloads, _ = stored
    read = []
    digest_of = sources.digest_of
    monkeypatch.setattr(sources, "digest_of", lambda path: read.append(path) or digest_of(path))
    sources._known_digest.cache_clear()
    for number in (1, 2, 3):
        reread(payloads[f"{folder.resolve()}/b.pdf#page={number}"])
    assert read == [str(Path(folder.resolve(), "b.pdf"))]
