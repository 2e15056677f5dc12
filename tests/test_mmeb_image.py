from __future__ import annotations

import pytest
from mmeb_rows import image_row, image_task

from ume_r1_bench.mmeb.errors import MmebError


def test_a_classified_picture(tmp_path):
    row = image_row(
        "<|image_1|>\nRepresent the given news image with the following caption for domain classification:",
        "A  strike \nbegins",
        "N24News/1.jpg",
        texts=["Economy", "Sports", "Economy"],
    )
    data = image_task(tmp_path, "N24News", row)
    (query,) = data.queries
    # The space before the text's own line's end goes as well: so the evaluator has it.
    assert query.item.rendered == (
        "<|image_pad|>\nRepresent the given news image with the following caption for domain classification: "
        "A  strike\nbegins\n"
    )
    assert query.item.text == query.item.rendered.removeprefix("<|image_pad|>").strip()
    assert query.item.images == (tmp_path / "image-tasks/N24News/1.jpg",)
    assert query.candidates == ("Economy", "Sports")
    assert query.relevance == {"Economy": 1.0}
    assert data.candidates["Sports"].text == "Sports"
    assert (data.rows, data.total, data.duplication) == (3, 1, 1.5)


def test_a_question_about_a_picture(tmp_path):
    row = image_row(
        "<|image_1|> Represent the given image with the following question: ",
        "Why?",
        "OK-VQA/1.jpg",
        texts=["a"],
    )
    (query,) = image_task(tmp_path, "OK-VQA", row).queries
    assert query.item.rendered == (
        "<|image_pad|>\nRepresent the given image with the following question: Why?\n"
    )


def test_a_caption_and_its_picture(tmp_path):
    row = image_row(
        "Find me an everyday image that matches the given caption:",
        "a dog",
        target="<|image_1|>\nRepresent the given image.",
        texts=["", ""],
        pictures=["MSCOCO_t2i/2.jpg", "MSCOCO_t2i/1.jpg"],
    )
    data = image_task(tmp_path, "MSCOCO_t2i", row)
    (query,) = data.queries
    assert query.item.rendered == "Find me an everyday image that matches the given caption: a dog\n"
    assert query.item.images == ()
    assert list(data.candidates) == ["MSCOCO_t2i/2.jpg", "MSCOCO_t2i/1.jpg"]
    assert data.candidates["MSCOCO_t2i/1.jpg"].rendered == "<|image_pad|>\nRepresent the given image.\n"
    assert query.relevance == {"MSCOCO_t2i/2.jpg": 1.0}


def test_a_dialogue_ends_with_two_lines_ends(tmp_path):
    row = image_row("Dialogue:", "hello", target="T", pictures=["VisDial/1.jpg"])
    (query,) = image_task(tmp_path, "VisDial", row).queries
    assert query.item.rendered == "Dialogue: hello\n\n"


def test_of_one_picture_with_two_captions_the_first_counts(tmp_path):
    target = "<|image_1|>\nRepresent the given Wikipedia image with related text information:"
    query = "<|image_1|>\nFind a Wikipedia image that answers this question:"
    rows = [
        image_row(
            query, "one?", target=target, texts=["first", "x"], pictures=["WebQA/1.jpg", "WebQA/2.jpg"]
        ),
        image_row(
            query, "two?", target=target, texts=["y", "second"], pictures=["WebQA/2.jpg", "WebQA/1.jpg"]
        ),
    ]
    data = image_task(tmp_path, "WebQA", *rows)
    assert [item.text for item in data.candidates.values()] == [
        "Represent the given Wikipedia image with related text information: first",
        "Represent the given Wikipedia image with related text information: x",
    ]
    assert (len(data.candidates), data.rows) == (2, 4)
    # The token of an image that is not there stays in VLM2Vec's string, and is taken out for UME-R1.
    assert data.queries[1].item.rendered == (
        "<|image_pad|>\nFind a Wikipedia image that answers this question: two?\n"
    )
    assert data.queries[1].item.text == "Find a Wikipedia image that answers this question: two?"
    assert data.queries[1].relevance == {"WebQA/2.jpg": 1.0}


def test_parts_of_one_picture_are_candidates_of_their_own(tmp_path):
    inst = "<|image_1|>\nSelect the portion of the image that follows the language expressions:"
    row = image_row(
        inst,
        '"a man"',
        "RefCOCO-Matching/1.jpg",
        inst,
        ['"left man"', '"right man"'],
        ["RefCOCO-Matching/1.jpg"] * 2,
    )
    data = image_task(tmp_path, "RefCOCO-Matching", row)
    assert list(data.candidates) == ["RefCOCO-Matching/1.jpg:left man", "RefCOCO-Matching/1.jpg:right man"]
    assert data.candidates["RefCOCO-Matching/1.jpg:right man"].rendered == (
        '<|image_pad|>\nSelect the portion of the image that follows the language expressions: "right man"\n'
    )
    assert data.queries[0].relevance == {"RefCOCO-Matching/1.jpg:left man": 1.0}


def test_a_cut_out_has_no_line_s_end(tmp_path):
    row = image_row(
        "<|image_1|>\nCrop the image to to isolate the object labeled as",
        '"dog"',
        "MSCOCO/1.jpg",
        "<|image_1|>\nRepresent the given cropped image of the object",
        ["", ""],
        ["MSCOCO/2.jpg", "MSCOCO/3.jpg"],
    )
    data = image_task(tmp_path, "MSCOCO", row)
    assert data.queries[0].item.rendered == (
        '<|image_pad|>\nCrop the image to to isolate the object labeled as "dog"\n'
    )
    assert data.candidates["MSCOCO/3.jpg:"].rendered == (
        "<|image_pad|>\nRepresent the given cropped image of the object"
    )


def test_pictures_and_captions_must_be_as_many(tmp_path):
    row = image_row("i", "t", "OVEN/1.jpg", "t", ["one"], ["OVEN/2.jpg", "OVEN/3.jpg"])
    with pytest.raises(MmebError, match="OVEN: 2 pictures have 1 captions"):
        image_task(tmp_path, "OVEN", row)
