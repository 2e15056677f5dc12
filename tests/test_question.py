"""Questions: read from a file, shown on a line, and put to encoders that know their kind or do not."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from ume_r1_rag.errors import InputError
from ume_r1_rag.retriever import Question, read_questions
from ume_r1_rag.types import MultimodalInput


def test_questions_are_read_from_a_file(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    lines = [
        "a plain question",
        "",
        json.dumps({"text": "x", "image": None, "kind": "page", "gold": "q3.pdf", "page": 2}),
        json.dumps({"text": "", "image": "a.png", "gold": "shapes.png", "page": None, "id": 7}),
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines))
    plain, page, picture = read_questions(file)
    assert plain == Question(MultimodalInput("a plain question"))
    assert (page.kind, page.gold) == ("page", "q3.pdf#page=2")
    assert page.is_answered_by("/data/q3.pdf#page=2")
    assert not page.is_answered_by("/data/q3.pdf#page=1")
    assert not page.is_answered_by("/data/other-q3.pdf#page=2")
    assert not plain.is_answered_by("")
    assert picture.input.images == (tmp_path / "a.png",)
    for bad, says in (
        ("{", "line 1"),
        ('{"kind": "poem", "text": "x"}', "poem"),
        ('{"image": "b"}', "exist"),
    ):
        file.write_text(bad)
        with pytest.raises(InputError, match=says):
            list(read_questions(file))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_questions(tmp_path / "absent"))


def test_files_of_a_question_lie_beside_its_file(tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    lines = [{"image": ["a.png", str(tmp_path / "b.png")]}, {"image": "https://example.org/c.png"}]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.chdir("/")
    several, remote = read_questions(file)
    assert several.input.images == (tmp_path / "a.png", tmp_path / "b.png")
    assert remote.input.images == ("https://example.org/c.png",)
    assert several.shown == "a.png + b.png"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"text": "two\nlines \x1b[31m"}, "two lines [31m"),
        ({"text": "x", "images": ("data:image/png;base64,AAAA",)}, "x + data URL (image/png, 26 characters)"),
        ({"images": (Image.new("RGB", (4, 2)),)}, "PIL image (RGB, 4x2)"),
    ],
)
def test_a_question_is_shown_on_a_harmless_line(given, shown):
    assert Question(MultimodalInput(**given)).shown == shown


def test_a_kind_is_for_encoders_that_have_it():
    knows, does_not = SimpleNamespace(kinds={"page"}), SimpleNamespace(kinds=set())
    question = Question(MultimodalInput("x"), "page")
    assert question.kind_for(knows) == "page"
    assert question.kind_for(does_not) is None
    assert question.kind_for(None) is None
    assert Question(MultimodalInput("x", instruction="find"), "page").kind_for(knows) is None
    assert Question(MultimodalInput("x")).kind_for(knows) is None
