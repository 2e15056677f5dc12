"""Ingestion: folders of good and bad files, with a fake encoder."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import MAX_TEXT_BYTES, Failure, Progress, Skipped, documents, ingest
from ume_r1_rag.types import Document, Embedding

D = 4


class FakeEncoder:
    """The same vector for everything; refuses texts that say so."""

    dimension = D
    spaces = ("disc", "gen")
    fingerprint = {"model": "fake", "dimension": D, "think": "full"}  # noqa: RUF012
    max_image_pixels = 64 * 64

    def __init__(self):
        self.windows = []

    def encode_document(self, inputs, mode="disc", **options):
        assert options == {"on_error": "return"}
        self.windows.append(list(inputs))
        return [self.encode(one, mode) for one in inputs]

    encode_query = encode_document

    def encode(self, one, mode):
        if one.text and "refuse" in one.text:
            return InputError("refused")
        vector = np.ones(D, np.float32) / 2
        if one.text and "nan" in one.text:
            vector = vector * np.nan
        return Embedding(vector if mode != "gen" else None, vector if mode != "disc" else None)


def write_pdf(path, pages):
    sheets = []
    for number in range(pages):
        sheet = Image.new("RGB", (200, 300), "white")
        ImageDraw.Draw(sheet).text((20, 20), f"page {number + 1}", fill="black")
        sheets.append(sheet)
    sheets[0].save(path, save_all=True, append_images=sheets[1:])


def write_clip(path, frames=6, rate=3):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = 64
        for number in range(frames):
            picture = Image.new("RGB", (64, 64), (40 * number, 0, 0))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def name(item):
    """What a person calls a document: its title, with the page."""
    return item.title if item.page is None else f"{item.title}#page={item.page}"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    write_pdf(tmp_path / "b.pdf", 3)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.PNG")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "sub" / "z.jpg")
    write_clip(tmp_path / "sub" / "clip.mp4")
    (tmp_path / "notes.md").write_text("# Notes\n", encoding="utf-8")
    (tmp_path / "data.bin").write_bytes(b"\0")
    (tmp_path / ".hidden.txt").write_text("hidden")
    return tmp_path


def test_each_kind_of_file_becomes_its_documents(folder):
    items = list(documents(folder))
    found = {name(item): item for item in items if isinstance(item, Document)}
    assert list(found) == [
        "a.PNG", "b.pdf#page=1", "b.pdf#page=2", "b.pdf#page=3", "notes.md", "sub/clip.mp4", "sub/z.jpg",
    ]  # fmt: skip
    assert [item.key for item in found.values()] == [f"{folder.resolve()}/{shown}" for shown in found]
    assert {item.document for item in found.values() if item.page} == {f"{folder.resolve()}/b.pdf"}
    assert [item.uri for item in items if isinstance(item, Skipped)] == [str(folder / "data.bin")]
    assert [item.kind for item in found.values()] == ["image", *["page"] * 3, "text", "clip", "image"]

    picture, page, text, clip = (found[k] for k in ("a.PNG", "b.pdf#page=2", "notes.md", "sub/clip.mp4"))
    assert picture.input.images == (folder / "a.PNG",)
    assert picture.input.instruction == "Represent the given image."
    assert picture.title == "a.PNG"
    assert picture.thumbnail.startswith(b"\xff\xd8")
    assert page.input.instruction == "Understand the content of the provided document image."
    assert page.input.text is None
    assert (page.page, page.uri, page.title) == (2, str(folder / "b.pdf"), "b.pdf")
    assert text.input.instruction is None
    assert text.input.text == text.text == "# Notes\n"
    assert clip.input.video == folder / "sub" / "clip.mp4"
    assert clip.input.instruction == "Understand the content of the provided video."
    assert clip.span_s == pytest.approx((0.0, 2.0), abs=0.01)
    assert clip.thumbnail.startswith(b"\xff\xd8")
    assert all(len(item.content_hash) == 64 for item in found.values())


def test_pages_are_rendered_within_the_limit_and_bear_their_text(tmp_path):
    stream = b"BT /F1 24 Tf 72 700 Td (Revenue 42) Tj ET"
    (tmp_path / "text.pdf").write_bytes(_pdf_with(stream))
    (page,) = documents(tmp_path / "text.pdf", max_page_pixels=10_000)
    assert page.key == f"{tmp_path.resolve()}/text.pdf#page=1"
    assert page.text == "Revenue 42"
    (image,) = page.input.images
    assert image.width * image.height <= 10_000
    assert max(Image.open(BytesIO(page.thumbnail)).size) > max(image.size)
    with pytest.raises(ConfigError, match="max_page_pixels=0"):
        documents(tmp_path, max_page_pixels=0)


def test_broken_files_are_failures_and_the_others_go_on(folder):
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    (folder / "bad.mp4").write_bytes(b"rubbish" * 100)
    (folder / "blank.txt").write_text(" \n")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.txt").write_bytes(b"x" * (MAX_TEXT_BYTES + 1))
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    items = list(documents(folder))
    failed = {item.title: item.error for item in items if isinstance(item, Failure)}
    assert set(failed) == {"bad.png", "bad.pdf", "bad.mp4", "blank.txt", "empty.jpg", "huge.txt"}
    assert all(isinstance(error, InputError) for error in failed.values())
    found = {item.title + str(item.page): item for item in items if isinstance(item, Document)}
    assert len(found) == 8
    assert found["latin.txtNone"].text == "caf\ufffd"


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
    assert second.title == "b.pdf#page=2"
    assert second.key == f"{folder.resolve()}/b.pdf#page=2"
    assert "ZeroDivisionError: odd page" in str(second.error)


def test_symlink_loops_end_and_odd_files_are_named(folder):
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "copy.png").symlink_to(folder / "a.PNG")
    os.mkfifo(folder / "pipe.txt")
    items = list(documents(folder))
    keys = [item.key for item in items if isinstance(item, Document)]
    assert len(keys) == len(set(keys)) == 7
    reasons = {Path(item.uri).name: item.reason for item in items if isinstance(item, Skipped)}
    assert reasons == {
        "copy.png": "a second path to a file that was read already",
        "data.bin": "unknown extension '.bin'",
        "gone.png": "a link that leads nowhere",
        "self": "a link that leads nowhere",
        "pipe.txt": "neither a file nor a folder",
    }


def test_names_that_are_no_unicode_get_a_key_all_the_same(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        (tmp_path / name).write_text("coffee")
    except OSError:
        pytest.skip("this file system knows only Unicode")
    (item,) = documents(tmp_path)
    assert item.key == f"{tmp_path.resolve()}/" + r"caf\udce9.txt"
    (item.uri + item.title).encode()


def test_files_given_themselves_go_by_their_name(folder):
    found = [item.title for item in documents([folder / "sub" / "z.jpg", str(folder / "notes.md")])]
    assert found == ["z.jpg", "notes.md"]
    (failure,) = documents(folder / "absent.pdf")
    assert isinstance(failure, Failure)
    assert "does not exist" in str(failure.error)


def test_files_of_one_name_in_two_folders_are_two_documents(folder, encoder, index):
    (folder / "other").mkdir()
    (folder / "other" / "z.jpg").write_bytes((folder / "sub" / "z.jpg").read_bytes())
    for place in ("other", "sub"):
        ingest(encoder, index, folder / place, "disc")
    hits = list(index.scroll({"kind": "image"}))
    assert {hit.key for hit in hits} == {f"{folder.resolve()}/{place}/z.jpg" for place in ("other", "sub")}
    assert {hit.payload["ume_title"] for hit in hits} == {"z.jpg"}


def test_a_file_is_one_document_whichever_way_it_is_reached(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "latest").symlink_to(folder / "sub" / "z.jpg")
    (folder / "linked").symlink_to(folder / "sub", target_is_directory=True)
    ways = ["latest", "sub/z.jpg", folder / "linked" / "z.jpg", folder / "sub" / ".." / "sub" / "z.jpg"]
    unknown, found, *again = documents(ways)
    assert isinstance(unknown, Skipped)
    assert isinstance(found, Document)
    assert [item.reason for item in again] == ["a second path to a file that was read already"] * 2
    assert {next(documents(way)).key for way in ways[1:]} == {found.key}


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


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


def test_ingest_writes_all_that_can_be_and_reports_the_rest(folder, encoder, index):
    (folder / "bad.png").write_bytes(b"rubbish")
    (folder / "refused.txt").write_text("refuse me")
    (folder / "nan.txt").write_text("nan")
    seen = []
    report = ingest(encoder, index, folder, batch_size=4, progress=seen.append)
    assert report.indexed == index.count() == 7
    assert sorted(one.title for one in report.failed) == ["bad.png", "nan.txt", "refused.txt"]
    assert all(isinstance(one.error, InputError) for one in report.failed)
    assert [Path(one.uri).name for one in report.skipped] == ["data.bin"]
    assert report.seconds > 0
    assert index.coverage() == {"disc": 7, "gen": 7}
    assert seen[-1] == Progress(7, 3, 1, f"{folder.resolve()}/sub/z.jpg")
    assert max(map(len, encoder.windows)) <= 4
    (hit,) = index.retrieve([f"{folder.resolve()}/b.pdf#page=2"])
    assert (hit.payload["ume_document"], hit.payload["ume_page"]) == (f"{folder.resolve()}/b.pdf", 2)
    assert len(hit.payload["ume_content_hash"]) == 64
    assert "ume_metadata" not in hit.payload


def test_pages_are_rendered_as_large_as_the_encoder_can_see(folder, encoder, index):
    ingest(encoder, index, folder / "b.pdf", "disc")
    assert index.coverage() == {"disc": 3, "gen": 0}
    for one in encoder.windows[0]:
        assert one.images[0].width * one.images[0].height <= encoder.max_image_pixels
    assert len(index.retrieve([f"{folder.resolve()}/b.pdf#page=1"])[0].payload["ume_thumbnail"]) > 100


def test_a_second_run_changes_nothing(folder, encoder, index):
    assert ingest(encoder, index, folder).indexed == ingest(encoder, index, folder).indexed == index.count()


def test_what_cannot_work_is_refused_at_once(folder, encoder, index):
    with pytest.raises(ConfigError, match="batch_size=0"):
        ingest(encoder, index, folder, batch_size=0)
    with pytest.raises(ConfigError, match="mode='all'"):
        ingest(encoder, index, folder, "all")
    encoder.fingerprint = {**encoder.fingerprint, "think": "none"}
    with pytest.raises(IndexMismatch, match="think"):
        ingest(encoder, index, folder)
    assert encoder.windows == []


def test_an_encoder_that_fails_as_such_ends_the_run_and_keeps_what_was_written(folder, encoder, index):
    encode = encoder.encode_document

    def dies(inputs, **options):
        if encoder.windows:
            raise RuntimeError("out of memory")
        return encode(inputs, **options)

    encoder.encode_document = dies
    with pytest.raises(RuntimeError, match="out of memory"):
        ingest(encoder, index, folder, batch_size=2)
    assert index.count() == 2


def _pdf_with(content):
    """A PDF of one page, small enough to be read here."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 " + font + b" >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 5\n0000000000 65535 f \n" + table + end
