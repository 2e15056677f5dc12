"""The example: a folder, a question, an answer read from the pages that were found, and from those alone."""

import importlib.util
import sys
from pathlib import Path

import pytest
from llama_index.llms.openai_like import OpenAILike
from page_answerer import NOTHING, PageAnswerer, answer

from llama_index.embeddings.ume_r1 import UmeR1Embedding
from ume_r1_bench.visdoc.page_reader import read_page
from ume_r1_bench.world import make_world
from ume_r1_bench.world.codec import encode_pdf
from ume_r1_bench.world.page import Bar, Chart, Page
from ume_r1_bench.world.sheet import draw_page

EXAMPLE = Path(__file__).parents[1] / "examples" / "llama_index_rag.py"
QUESTION = "What is the mass of the harbor survey?"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("llama_index_rag", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UME_R1_PAGE_IMAGES", str(tmp_path / "pages"))
    make_world(tmp_path, split="demo", progress=False)
    kept = {"harbor-survey.pdf", "orchard-notice.pdf", "shapes-01.png", "clip-01.mp4"}
    for file in (tmp_path / "files").iterdir():
        if file.name not in kept:
            file.unlink()
    return tmp_path / "files"


@pytest.fixture
def answerer():
    with PageAnswerer() as answerer:
        yield answerer


@pytest.fixture
def llm(answerer):
    return OpenAILike(
        model="reader",
        api_base=answerer.base_url,
        api_key="none",
        is_chat_model=True,
        context_window=32_768,
        max_retries=0,
    )


def survey(mass):
    lines = (("mass", mass), ("unit", "Y6C"), ("load", "H3P"))
    return Page("harbor survey", lines, Chart(tuple(map(Bar, "nsew", (3, 5, 2, 1)))))


def test_a_question_is_answered_from_the_page_that_says_it(
    example, folder, answerer, llm, nano_encoder, tmp_path
):
    embedding = UmeR1Embedding(encoder=nano_encoder)
    assert example.ingest(folder, tmp_path / "ix", embedding) == 5
    engine = example.make_engine(tmp_path / "ix", embedding, llm)
    response = engine.query(QUESTION)
    assert str(response) == "R5M (harbor-survey.pdf, page 1)"
    (shown,) = answerer.seen
    assert len(shown) == 5  # pages, the picture and the clip's middle frame
    assert any(page and page[0] == "harbor survey" for _, page in shown)
    cited = example.sources(response)
    assert any(line.startswith("harbor-survey.pdf, page 1 (") for line in cited)
    assert any(line.startswith("clip-01.mp4, 0 to ") for line in cited)
    engine.retriever.close()


def test_other_pages_give_another_answer(example, folder, answerer, llm, nano_encoder, tmp_path):
    embedding = UmeR1Embedding(encoder=nano_encoder)
    example.ingest(folder, tmp_path / "ix", embedding)
    others = example.make_engine(tmp_path / "ix", embedding, llm, filters={"title": "orchard-notice.pdf"})
    assert str(others.query(QUESTION)) == NOTHING
    assert len(answerer.seen[-1]) == 2
    others.retriever.close()

    # The same name, another page: what is answered is what stands on it.
    (folder / "harbor-survey.pdf").write_bytes(encode_pdf([draw_page(survey("K4T"))]))
    stale = example.make_engine(tmp_path / "ix", embedding, llm)
    stale.query(QUESTION)
    (folder / "harbor-survey.pdf").write_bytes(encode_pdf([draw_page(survey("B2B"))]))
    stale.retriever.close()
    example.ingest(folder, tmp_path / "ix", embedding)
    fresh = example.make_engine(tmp_path / "ix", embedding, llm)
    assert str(fresh.query(QUESTION)) == "B2B (harbor-survey.pdf, page 1)"
    fresh.retriever.close()


async def test_the_engine_answers_on_a_loop(example, folder, llm, nano_encoder, tmp_path):
    embedding = UmeR1Embedding(encoder=nano_encoder)
    example.ingest(folder, tmp_path / "ix", embedding)
    engine = example.make_engine(tmp_path / "ix", embedding, llm, filters={"kind": "page"})
    assert str(await engine.aquery(QUESTION)) == "R5M (harbor-survey.pdf, page 1)"
    engine.retriever.close()


def test_its_command_line(example, folder, answerer, monkeypatch, tmp_path, capsys):
    asked = [str(folder), QUESTION, "--llm", "reader", "--llm-url", answerer.base_url, "--model", "nano"]
    monkeypatch.setattr(sys, "argv", ["llama_index_rag.py", *asked, "--index", str(tmp_path / "ix")])
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    example.main()
    said = capsys.readouterr()
    assert said.out.startswith("5 pages, pictures, clips and texts\nR5M (harbor-survey.pdf, page 1)\n  ")
    assert "left out: " in said.err


def test_its_help_and_a_mistyped_folder_say_what_to_do(example, tmp_path, monkeypatch, capsys):
    for arguments, code in ((["--help"], 0), ([str(tmp_path / "absent"), "what?", "--llm", "m"], 2)):
        monkeypatch.setattr(sys, "argv", ["llama_index_rag.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            example.main()
        assert ended.value.code == code
    said = capsys.readouterr()
    assert "pip install" in said.out
    assert "OPENAI_API_KEY" in said.out
    assert "absent does not exist: check the path" in said.err


def test_the_answerer_reads_pixels_and_nothing_else():
    page = survey("K4T")
    assert read_page(draw_page(page)) == (page.heading, dict(page.lines))
    shown = [("title: a.pdf\npage: 3", read_page(draw_page(survey("B2B"))))]
    assert answer(QUESTION, shown) == "B2B (a.pdf, page 3)"
    assert answer("What is the mass of the orchard notice?", shown) == NOTHING
    assert answer(QUESTION, []) == NOTHING
