"""What a caller may pass, and THE RULE by which a str is a path or a text."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ume_r1_rag.errors import BackendError, InputError
from ume_r1_rag.inputs import split_batch, to_input, to_inputs
from ume_r1_rag.media.mediatype import (
    IMAGE_EXTENSIONS,
    VIDEO_EXTENSIONS,
    content_type_fits,
    kind_of_name,
    kinds_of_bytes,
)
from ume_r1_rag.types import Document, MultimodalInput

DATA_URL = "data:image/png;base64,AAAA"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working folder with a picture, a video, a PDF, an odd name and a picture without extension."""
    monkeypatch.chdir(tmp_path)
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    for name in ("cat.png", "DOG.JPeG", "my cat.png", "naked", "sub/deep.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(out.getvalue())
    (tmp_path / "clip.MP4").write_bytes(b"\0\0\0\x18ftypisom")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "noise.bin").write_bytes(b"noise")
    return tmp_path


def kind(item):
    return "video" if item.video is not None else "image" if item.images else "text"


# THE RULE


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://example.org/cat", "image"),
        ("http://example.org/a.mp4?x=1#y", "video"),
        ("https://example.org/a.png?name=b.mp4", "image"),
        ("https://example.org/ is a site", "text"),
        ("see https://example.org/cat.png", "text"),
        ("HTTPS://EXAMPLE.ORG", "text"),
        ("ftp://example.org", "text"),
        (DATA_URL, "image"),
        ("data:video/mp4;base64,AAAA", "video"),
        ("data:text/plain,hello", "text"),
        ("data: image/png", "text"),
        ("cat.png", "image"),
        ("./cat.png", "image"),
        ("sub/deep.webp", "image"),
        ("DOG.JPeG", "image"),
        ("my cat.png", "image"),
        ("clip.MP4", "video"),
        ("what is in cat.png", "text"),
        ("a photo / a drawing.png", "text"),
        ("cat.png\n", "text"),
        ("naked", "text"),
        ("absent.pdf", "text"),
        ("sub", "text"),
        ("src/main.ts", "text"),
        ("and/or", "text"),
    ],
)
def test_the_rule(files, text, wanted):
    item = to_input(text)
    assert kind(item) == wanted
    assert {"text": item.text, "image": item.images, "video": item.video}[wanted] in (text, (text,))


@pytest.mark.parametrize(
    "text",
    ["dog.png", ".png", "pics/cat.png", "./dog.JPG", "/no/such/clip.mov", "file:///tmp/none.png", "sub/.gif"],
)
def test_a_mistyped_path_is_no_text(files, text):
    with pytest.raises(InputError, match=r"looks like a file.*'text'"):
        to_input(text)
    assert to_input({"text": text}).text == text


def test_a_pdf_that_is_there_is_many_inputs(files):
    with pytest.raises(InputError, match="is a PDF, which is many inputs"):
        to_input("report.pdf")
    assert to_input({"text": "report.pdf"}).text == "report.pdf"


def test_a_folder_named_like_a_picture(files):
    (files / "album.png").mkdir()
    with pytest.raises(InputError, match="looks like a file"):
        to_input(f"{files}/album.png")


def test_long_names(files):
    long = "./" * 600 + "cat.png"
    assert Path(long).is_file()
    assert to_input(long).text == long
    with pytest.raises(InputError, match="looks like a file") as caught:
        to_input("a/" * 4000 + "x.png")
    assert len(str(caught.value)) < 300


@given(st.text())
def test_texts_stay_texts(text):
    assume(text.strip())
    assume(not text.lower().endswith(".pdf"))
    assume(not text.startswith(("http://", "https://", "data:image/", "data:video/")))
    assume(kind_of_name(text) is None)
    assert to_input(text) == MultimodalInput(text=text)


@given(
    st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=30),
    st.sampled_from(IMAGE_EXTENSIONS + VIDEO_EXTENSIONS),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_absent_names_are_text_where_there_is_a_space_in_them(tmp_path_factory, stem, suffix, upper):
    text = f"\N{SNOWMAN}{stem}{suffix.upper() if upper else suffix}"
    if not any(char.isspace() for char in text):
        with pytest.raises(InputError, match="looks like a file"):
            to_input(text)
    else:
        assert to_input(text).text == text


@given(st.text(st.characters(exclude_categories=()), min_size=1))
def test_surrogates_never_survive(text):
    assume(text.strip())
    try:
        item = to_input({"text": text, "instruction": text})
    except InputError:
        return
    assert item.text.encode("utf-8")
    assert item.instruction == item.text


def test_lone_surrogates_are_spelled_out_and_paired_ones_joined():
    assert to_input("a\ud800b").text == r"a\ud800b"
    assert to_input("\udc00\ud800!").text == r"\udc00\ud800!"
    assert to_input("\ud83d\ude00").text == "\N{GRINNING FACE}"
    assert to_input(MultimodalInput(text="\ud800", instruction="x\udfff")).instruction == r"x\udfff"


# Everything else


def test_paths_are_always_files(files):
    assert to_input(files / "cat.png").images == (files / "cat.png",)
    assert to_input(files / "clip.MP4").video == files / "clip.MP4"
    assert to_input(files / "naked").images == (files / "naked",), "by its first bytes"
    for name, words in (("none.png", "does not exist"), ("report.pdf", "ume-r1 index"), ("sub", "no file"),
                        ("noise.bin", "no known picture or video")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            to_input(files / name)


def test_pictures_bytes_and_documents(files):
    image = Image.new("RGB", (2, 2))
    assert to_input(image).images == (image,)
    png = (files / "cat.png").read_bytes()
    assert to_input(png).images == (png,)
    assert to_input(bytearray(b"\x1a\x45\xdf\xa3")).video == b"\x1a\x45\xdf\xa3"
    given = MultimodalInput(text="x")
    assert to_input(given) is given
    assert to_input(Document(key="k", kind="text", input=given)) is given
    with pytest.raises(InputError, match="5 bytes is no known"):
        to_input(b"12345")


def test_dicts(files):
    image = Image.new("RGB", (2, 2))
    item = to_input({"text": "t", "image": ["cat.png", image, DATA_URL], "instruction": "i"})
    assert item == MultimodalInput("t", (Path("cat.png"), image, DATA_URL), None, "i")
    assert to_input({"image": "naked"}).images == (Path("naked"),)
    assert to_input({"video": [image, files / "cat.png"]}).video == (image, files / "cat.png")
    assert to_input({"video": "clip.MP4", "text": None, "image": None}).video == Path("clip.MP4")
    assert to_input({"video": "https://example.org/stream"}).video == "https://example.org/stream"
    assert to_input({"image": [], "text": "t"}).images == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"txt": "x", "images": 1}, "txt, images.*text, image, video, instruction"),
        ({}, "empty input"),
        ({"text": " \n"}, "empty input"),
        ({"instruction": "only"}, "empty input"),
        ({"text": ["a", "b"]}, "list of 2, not a str"),
        ({"text": 3}, "not a str"),
        ({"image": "nothing.png"}, "does not exist"),
        ({"image": "a plain text"}, "does not exist"),
        ({"image": "clip.MP4"}, "is video, given as image"),
        ({"image": "https://example.org/a.mp4"}, "is video, given as image"),
        ({"image": "data:video/mp4;base64,AAAA"}, "is video, given as image"),
        ({"video": "cat.png"}, "is image, given as video"),
        ({"video": DATA_URL}, "is image, given as video"),
        ({"video": []}, "empty list"),
        ({"video": ["cat.png", "dog.png"]}, "frames of one video.*dog.png"),
        ({"image": "report.pdf"}, "ume-r1 index"),
        ({"image": 3}, "type int is no image"),
    ],
)
def test_unusable_dicts(files, given, words):
    with pytest.raises(InputError, match=words):
        to_input(given)


@pytest.mark.parametrize("given", [None, 3, object(), "", "  \n", [], ["a", "b"], np.zeros((2, 2, 3))])
def test_unusable_inputs(given):
    with pytest.raises(InputError):
        to_input(given)


def test_single_or_batch(files):
    for one in (
        "x",
        Path("cat.png"),
        {"text": "x"},
        Image.new("RGB", (1, 1)),
        MultimodalInput("x"),
        b"\xff\xd8\xff",
    ):
        items, single = to_inputs(one)
        assert single
        assert len(items) == 1
    for many in (
        ["x", "y"],
        ("x", "y"),
        (text for text in "xy"),
        {"x": 1, "y": 2}.keys(),
        np.array(["x", "y"]),
    ):
        items, single = to_inputs(many)
        assert not single
        assert [item.text for item in items] == ["x", "y"]
    assert to_inputs([]) == ([], False)
    assert to_inputs(["x"])[1] is False
    with pytest.raises(InputError, match="fromarray"):
        to_inputs(np.zeros((2, 2, 3)))


def test_a_list_in_a_batch_is_one_video(files):
    image = Image.new("RGB", (1, 1))
    items, single = to_inputs([[image, "cat.png"], "x", (image,)])
    assert not single
    assert [kind(item) for item in items] == ["video", "text", "video"]
    assert items[0].video == (image, Path("cat.png"))
    with pytest.raises(InputError, match=r"input 1: a list inside the inputs is the frames"):
        to_inputs(["x", ["not", "frames"]])


def test_errors_in_place():
    earlier = BackendError("before")
    items, single = to_inputs(["x", "", earlier, None], on_error="return")
    assert not single
    assert [type(item).__name__ for item in items] == [
        "MultimodalInput",
        "InputError",
        "BackendError",
        "InputError",
    ]
    assert items[2] is earlier
    assert isinstance(to_inputs("", on_error="return")[0][0], InputError)
    assert to_inputs(earlier, on_error="return") == ([earlier], True)
    with pytest.raises(BackendError):
        to_inputs(["x", earlier])
    assert split_batch(["x", None]) == (["x", None], False)


def test_nothing_secret_or_large_is_shown():
    for bad in (
        {"image": "data:video/mp4;base64," + "A" * 9999},
        {"image": "https://u:secret@x.org/a.mp4?t=secret"},
    ):
        with pytest.raises(InputError) as caught:
            to_input(bad)
        assert len(str(caught.value)) < 300
        assert "secret" not in str(caught.value)
        assert "AAAA" not in str(caught.value)


# Media types


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"GIF89a", ("image", "video")),
        (b"RIFF1234WEBPVP8 ", ("image",)),
        (b"RIFF1234AVI LIST", ("video",)),
        (b"RIFF1234WAVE", ()),
        (b"\0\0\0\x1cftypavif", ("image",)),
        (b"\0\0\0\x1cftypisom", ("video",)),
        (b"P6\n1 1", ("image",)),
        (b"G" + bytes(187) + b"G", ("video",)),
        (b"Good morning", ()),
        (b"<html>", ()),
        (b"", ()),
    ],
)
def test_kinds_of_bytes(head, wanted):
    assert kinds_of_bytes(head) == wanted


def test_content_types():
    assert content_type_fits("image/PNG; x=1", "image")
    assert content_type_fits("", "video")
    assert content_type_fits("application/octet-stream", "image")
    assert not content_type_fits("text/html", "image")
    assert not content_type_fits("video/mp4", "image")
