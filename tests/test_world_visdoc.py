"""The world as a folder of PDFs with a CSV, and the reader and the answerer of its pages."""

import csv
import filecmp

import pytest
from openai import BadRequestError, OpenAI
from typer.testing import CliRunner

from ume_r1_bench.visdoc.answer_metrics import UNANSWERABLE
from ume_r1_bench.visdoc.own import read_own
from ume_r1_bench.visdoc.page_reader import read_page
from ume_r1_bench.visdoc.pages import Pages
from ume_r1_bench.visdoc.world_answerer import WorldAnswerer
from ume_r1_bench.world import WorldError
from ume_r1_bench.world.page import values_of
from ume_r1_bench.world.visdoc import make_visdoc
from ume_r1_rag.cli.app import app
from ume_r1_rag.media import PdfPages
from ume_r1_trainer.endpoint import user_message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers")
    make_visdoc(folder, documents=6, pages=3, questions=30)
    return folder


def rows(folder):
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_arguments_write_the_same_bytes(folder, tmp_path):
    made = make_visdoc(tmp_path, documents=6, pages=3, questions=30)
    assert (made.documents, made.pages, made.layered, made.questions) == (6, 18, 3, 30)
    compared = filecmp.dircmp(folder, tmp_path)
    assert not compared.diff_files
    assert len(compared.same_files) == 7
    make_visdoc(tmp_path / "other", seed=1, documents=2, pages=1, questions=2)
    assert rows(tmp_path / "other") != rows(folder)[:2]


def test_half_of_the_documents_have_a_text_layer_that_nobody_sees(folder):
    texts = {}
    for path in folder.glob("*.pdf"):
        with PdfPages(path) as pdf:
            texts[path.name] = pdf.text(1)
            shown = read_page(pdf.render(1, 224 * 224))
        if texts[path.name]:
            heading, *lines = texts[path.name].splitlines()
            assert (heading, dict(line.split() for line in lines)) == shown
    assert sum(bool(text) for text in texts.values()) == 3


def test_every_question_has_one_answer_and_values_are_of_the_split(folder):
    corpus = read_own(folder)
    assert not corpus.failures
    pages = Pages(corpus, folder.parent / "rendered")
    from PIL import Image

    read = {page: read_page(Image.open(pages.file(page))) for page in corpus.documents}
    values = [value for _, lines in read.values() for value in lines.values()]
    assert len(set(values)) == len(values) == 18 * 3
    assert set(values) <= set(values_of("test"))
    assert not set(values) & set(values_of("train"))
    asked = {next(iter(one.pages)).partition("#")[0] for one in corpus.questions}
    assert len(asked) == 4, "of a third of the documents nothing is asked"
    for one in corpus.questions:
        (page,) = one.pages
        heading, lines = read[page]
        words = one.text.split()
        assert lines[words[3]] == one.answers[0]
        assert heading in one.text


def test_more_pages_than_the_split_has_values_are_refused(tmp_path):
    with pytest.raises(WorldError, match="write fewer"):
        make_visdoc(tmp_path, documents=1000)


def test_the_command_says_what_it_wrote(tmp_path):
    arguments = [
        "world",
        "visdoc",
        str(tmp_path / "p"),
        "--documents",
        "2",
        "--pages",
        "1",
        "--questions",
        "3",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "2 PDFs with 2 pages, 1 of them with a text layer, and 3 questions" in done.stdout


def test_the_answerer_knows_what_it_is_shown_and_nothing_else(folder):
    corpus = read_own(folder)
    pages = Pages(corpus, folder.parent / "rendered")
    one, other = corpus.questions[0], list(corpus.documents)
    (right,) = one.pages
    wrong = next(page for page in other if page != right)
    with WorldAnswerer() as server:
        client = OpenAI(base_url=server.base_url, api_key="none", max_retries=0)

        def ask(text, *shown):
            message = user_message(text, [pages.file(page) for page in shown])
            return (
                client.chat.completions.create(model="world", messages=[message]).choices[0].message.content
            )

        assert ask(one.text, wrong, right) == one.answers[0]
        assert ask(one.text, wrong) == ask(one.text) == UNANSWERABLE
        assert "what is the" in ask("draft something", right)
        assert ask(f"Right answers: K4T | {one.answers[0]}\nAnswer: k4t.") == "yes"
        assert ask(f"Right answers: {one.answers[0]}\nAnswer: A2A") == "no"
        with pytest.raises(BadRequestError):
            client.chat.completions.create(
                model="world", messages=[{"role": "user", "content": [{"type": "text"}]}]
            )
        assert server.requests == 6
