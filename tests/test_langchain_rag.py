"""The LangChain example, with nano and with a chat model that can only know what it was shown."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from page_reader import UNKNOWN, PageReader, reply

from langchain_ume_r1 import UmeR1Embeddings, UmeR1Retriever
from ume_r1_bench.visdoc.page_reader import read_page
from ume_r1_bench.world.clip import sample_clip_group
from ume_r1_bench.world.codec import encode_mp4, encode_pdf, encode_png
from ume_r1_bench.world.film import draw_clip
from ume_r1_bench.world.page import Page, sample_page, with_value
from ume_r1_bench.world.picture import draw_scene
from ume_r1_bench.world.scene import sample_neighbourhood
from ume_r1_bench.world.sheet import draw_page
from ume_r1_bench.world.split import make_rng

EXAMPLE = Path(__file__).parents[1] / "examples" / "langchain_rag.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("langchain_rag", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its annotations are looked up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def pages():
    rng = make_rng("langchain example", 0)
    found: dict[str, Page] = {}
    while len(found) < 5:
        page = sample_page(rng, "test")
        found.setdefault(page.heading, page)
    return list(found.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pages):
    """A folder with four PDFs (one of two pages), two pictures and a clip."""
    folder = tmp_path_factory.mktemp("folder")
    for name, shown in zip("abcd", (pages[:1], pages[1:2], pages[2:3], pages[3:]), strict=True):
        (folder / f"{name}.pdf").write_bytes(encode_pdf([draw_page(page) for page in shown]))
    rng = make_rng("langchain example", 1)
    for name, scene in zip("xy", sample_neighbourhood(rng, "test", 2, 2), strict=True):
        (folder / f"{name}.png").write_bytes(encode_png(draw_scene(scene)))
    (folder / "z.mp4").write_bytes(encode_mp4(draw_clip(sample_clip_group(rng, "test", 2).clips[0])))
    return folder


@pytest.fixture(scope="module")
def index(example, folder, tmp_path_factory, nano_encoder):
    path = tmp_path_factory.mktemp("index")
    report = example.index_folder(folder, path, UmeR1Embeddings.from_encoder(nano_encoder))
    assert "8 documents" in str(report)
    assert "failed" not in str(report)
    return path


@pytest.fixture
def retriever(index, nano_encoder):
    retriever = UmeR1Retriever(path=index, embeddings=UmeR1Embeddings.from_encoder(nano_encoder), k=3)
    yield retriever
    retriever.close()


@pytest.fixture
def reader():
    with PageReader() as reader:
        yield reader


@pytest.fixture
def llm(reader):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="reader", base_url=reader.base_url, api_key="a key", temperature=0)


def question(page):
    (key, value), (asked, _), _ = page.lines
    return f"what is the {asked} in the {page.heading} where {key} is {value}?"


def value(page):
    """Returns the answer."""
    return page.lines[1][1]


PLACES = [("a.pdf", 1), ("b.pdf", 1), ("c.pdf", 1), ("d.pdf", 1), ("d.pdf", 2)]


def test_the_stand_in_reads_pages_by_their_pixels(pages):
    for page in pages:
        assert read_page(draw_page(page)) == (page.heading, dict(page.lines))
        other = with_value(page, page.lines[0][0], "A2A")
        assert read_page(draw_page(other))[1][page.lines[0][0]] == "A2A"
    assert read_page(draw_scene(sample_neighbourhood(make_rng("x", 1), "test", 2, 2)[0])) is None


def test_the_chain_answers_from_the_pages_that_it_found_and_cites_them(
    example, retriever, llm, pages, folder
):
    chain = example.make_chain(retriever, llm)
    right = 0
    for page, place in zip(pages, PLACES, strict=True):
        said = chain.invoke(question(page))
        found = [(Path(d.metadata["uri"]).name, d.metadata.get("page")) for d in said["documents"]]
        if place in found:
            right += 1
            assert said["answer"] == f"{value(page)} [{found.index(place) + 1}]"
        else:
            assert said["answer"] == UNKNOWN
    assert right >= 3, "nano finds most of five pages among eight documents"


def test_wrong_pages_give_wrong_answers(example, retriever, llm, pages, folder, nano_encoder, tmp_path):
    asked = pages[0]
    elsewhere = retriever.model_copy(update={"filter": {"title": ["b.pdf", "c.pdf", "x.png"]}})
    assert example.make_chain(elsewhere, llm).invoke(question(asked))["answer"] == UNKNOWN

    # The same heading with another value: what was shown is what is said.
    forged = "A2A"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "forged.pdf").write_bytes(
        encode_pdf([draw_page(with_value(asked, asked.lines[1][0], forged))])
    )
    embeddings = UmeR1Embeddings.from_encoder(nano_encoder)
    example.index_folder(tmp_path / "files", tmp_path / "index", embeddings)
    forger = UmeR1Retriever(path=tmp_path / "index", embeddings=embeddings)
    assert example.make_chain(forger, llm).invoke(question(asked))["answer"] == f"{forged} [1]"
    forger.close()


async def test_the_chain_runs_in_an_event_loop(example, retriever, llm, pages):
    said = await example.make_chain(retriever, llm).ainvoke(question(pages[1]))
    assert said["answer"]
    assert len(said["documents"]) == 3


def test_the_agent_searches_by_itself_and_sees_the_pages(example, retriever, llm, reader, pages):
    agent = example.make_agent(retriever, llm)
    for page, place in zip(pages[:3], PLACES, strict=False):
        reader.bodies.clear()
        found = agent.invoke({"messages": [("user", question(page))]})["messages"]
        first, second = reader.bodies
        assert "image_url" not in json.dumps(first), "nothing was searched for yet"
        assert [one["role"] for one in second["messages"]] == ["system", "user", "assistant", "tool", "user"]
        (documents,) = [m.artifact for m in found if m.type == "tool"]
        places = [(Path(d.metadata["uri"]).name, d.metadata.get("page")) for d in documents]
        expected = f"{value(page)} [{places.index(place) + 1}]" if place in places else UNKNOWN
        assert found[-1].text == expected
        # Pictures were for the request; what an agent keeps, and saves, is where they are.
        assert "base64" not in repr(found)


class Persistent(PageReader):
    """A chat model that searches for each of some questions in turn before it answers."""

    def __init__(self, questions):
        super().__init__()
        self.questions = questions

    def reply(self, asked):
        searched = sum(message["role"] == "tool" for message in asked["messages"])
        if searched == len(self.questions):
            return reply(asked)
        call = {"name": "search_documents", "arguments": json.dumps({"query": self.questions[searched]})}
        calls = [{"id": f"call-{searched}", "type": "function", "function": call}]
        return {"content": None, "tool_calls": calls}, "tool_calls"


def test_an_agent_that_searches_twice_numbers_all_through(
    example, folder, index, nano_encoder, pages, monkeypatch, capsys
):
    wanted = question(pages[1])
    with Persistent([question(pages[0]), wanted]) as reader:
        asked = [str(folder), wanted, "--llm", "reader", "--llm-url", reader.base_url, "--agent"]
        monkeypatch.setattr(sys, "argv", ["langchain_rag.py", *asked, "--index", str(index), "-k", "3"])
        monkeypatch.setattr(
            example, "UmeR1Embeddings", lambda **_: UmeR1Embeddings.from_encoder(nano_encoder)
        )
        example.main()
        last = reader.bodies[-1]["messages"]
    said = capsys.readouterr().out
    roles = [message["role"] for message in last]
    assert roles == ["system", "user", *["assistant", "tool", "user"] * 2]
    shown = [
        block["text"].splitlines()[0]
        for message in last[2:]
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text"
    ]
    assert [label.split()[0] for label in shown] == [f"[{number}]" for number in range(1, 7)]
    printed = [line.strip().rpartition("  ")[0] for line in said.splitlines() if line.startswith("  [")]
    assert printed == shown, "a number means the same to the model and to the reader"
    place = next(label for label in shown if "b.pdf, page 1" in label)
    assert f"{value(pages[1])} {place.split()[0]}" in said


async def test_the_agent_runs_in_an_event_loop(example, retriever, llm, pages):
    agent = example.make_agent(retriever, llm)
    found = await agent.ainvoke({"messages": [("user", question(pages[0]))]})
    assert found["messages"][-1].type == "ai"


@pytest.mark.parametrize("how", [[], ["--agent"]])
def test_the_example_is_a_program(example, reader, folder, index, pages, monkeypatch, capsys, how):
    asked = [str(folder), question(pages[0]), "--llm", "reader", "--llm-url", reader.base_url]
    asked += ["--model", "nano"]
    monkeypatch.setattr(sys, "argv", ["langchain_rag.py", *asked, "--index", str(index), "-k", "8", *how])
    # The index was written by an encoder in float32; the program's own is shared with nobody here.
    example.main()
    said = capsys.readouterr().out
    assert f"{value(pages[0])} [" in said
    assert "a.pdf, page 1" in said


def test_its_help_and_a_mistyped_folder_say_what_to_do(example, tmp_path, monkeypatch, capsys):
    for arguments, code in ((["--help"], 0), ([str(tmp_path / "absent"), "what?", "--llm", "m"], 2)):
        monkeypatch.setattr(sys, "argv", ["langchain_rag.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            example.main()
        assert ended.value.code == code
    said = capsys.readouterr()
    assert "pip install" in said.out
    assert "OPENAI_API_KEY" in said.out
    assert "absent does not exist: check the path" in said.err
