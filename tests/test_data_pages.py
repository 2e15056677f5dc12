"""Pairs of one's own pages: a folder of PDFs and pictures, a teacher on loopback that asks about them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, pictures
from made_files import write_pdf
from PIL import Image
from training_pairs import picture, read
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_trainer.data.questions import held_out, parse_questions
from ume_r1_trainer.data.record import content_of, modality_of


def run(server: ChatServer, folder: Path, output: Path, *more: object):
    arguments = ["data", "pages", folder, "--output", output, "--model", "m", "--base-url", server.base_url]
    return CliRunner().invoke(app, [*map(str, arguments), *map(str, more)])


def asks(body: dict[str, Any]) -> str:
    shown = pictures(body["messages"])
    opened = Image.open(BytesIO(base64.b64decode(shown[0].partition(",")[2])))
    return (
        f"<think>Let me see.</think><answer>1. How wide is it? {opened.width}\n2. How high?\n3. Why?</answer>"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manuals"
    (made / "sub").mkdir(parents=True)
    write_pdf(made / "a.pdf", 3)
    picture(made, "sub/photo.png", "red")
    (made / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (made / "notes.txt").write_text("not a page")
    return made


def test_pages_become_pairs_and_what_fails_is_named(folder: Path, tmp_path: Path):
    output = tmp_path / "runs/pairs.jsonl"
    output.parent.mkdir()
    with ChatServer(asks) as server:
        done = run(server, folder, output, "--max-pixels", 50_176)
        assert done.exit_code == 1
        assert "broken.pdf" in done.output
        rows = read(output)
        assert [row["id"] for row in rows] == [
            *(f"a.pdf#page={page}/{at}" for page in (1, 2, 3) for at in (1, 2)),
            "sub/photo.png#page=1/1",
            "sub/photo.png#page=1/2",
        ]
        page = content_of(rows[0]["pos"], "")
        assert (output.parent / rows[0]["qry"]["image"]).is_file(), "the blank picture of a text alone"
        assert content_of(rows[1]["qry"], "").text.endswith("matches the given query: How high?")
        with Image.open(output.parent / page.images[0]) as drawn:
            assert 40_000 < drawn.width * drawn.height <= 50_176
        assert {row["dataset_name"] for row in rows} == {"manuals"}
        assert {modality_of(row) for row in rows} == {"visdoc"}
        (folder / "broken.pdf").unlink()
        before = len(server.requests)
        done = run(server, folder, output, "--max-pixels", 50_176)
        assert done.exit_code == 0
        assert len(server.requests) == before, "every answer was kept"
    assert read(output) == rows
    assert not output.with_suffix(".failed.jsonl").exists()


def test_a_page_without_an_answer_fails_and_the_others_are_there(folder: Path, tmp_path: Path):
    def reply(body: dict) -> Any:
        width = int(asks(body).partition("wide is it? ")[2].split()[0])
        return {"status": 400, "error": "too small"} if width == 28 else "NONE"

    (folder / "broken.pdf").unlink()
    with ChatServer(reply) as server:
        done = run(server, folder, tmp_path / "pairs.jsonl")
    assert done.exit_code == 1
    assert "sub/photo.png, page 1: status 400" in done.output
    assert "wrote 0 pairs of 4 pages" in done.output


def test_documents_are_held_out_whole(folder: Path, tmp_path: Path):
    for number in range(12):
        write_pdf(folder / f"{number}.pdf", 2)
    (folder / "broken.pdf").unlink()
    output = tmp_path / "pairs.jsonl"
    with ChatServer(asks) as server:
        assert run(server, folder, output, "--hold-out", 0.4).exit_code == 0
    documents = [{row["id"].partition("#")[0] for row in read(path)} for path in (output, held(output))]
    assert documents[0]
    assert documents[1] == {name for name in documents[0] | documents[1] if held_out(name, 0.4)}
    assert not documents[0] & documents[1]


def held(output: Path) -> Path:
    return output.with_suffix(".heldout.jsonl")


def test_the_share_that_is_held_out_is_about_what_was_asked():
    assert sum(held_out(f"{number}.pdf", 0.2) for number in range(2000)) == pytest.approx(400, abs=60)
    assert not any(held_out(f"{number}.pdf", 0) for number in range(100))


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("What is it?\nWho made it?", ["What is it?", "Who made it?"]),
        ("1. What is it?\n2) Who made it?\n\n3: Why?", ["What is it?", "Who made it?"]),
        ("- What is it?\n- What is it?", ["What is it?"]),
        ("<think>What? Who?\nWhy?</think>\n<answer>* What is it?</answer>", ["What is it?"]),
        ("2024 was when?", ["2024 was when?"]),
        ("NONE", []),
        ("None.", []),
        ("", []),
    ],
)
def test_questions_are_read_from_an_answer(text: str, questions: list[str]):
    assert parse_questions(text, 2) == questions
