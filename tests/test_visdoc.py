"""VisDoc RAG from PDFs to answers, with nano and a model that knows what it is shown and nothing else."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from made_files import text_pdf
from typer.testing import CliRunner

from ume_r1_bench.visdoc.configuration import configurations
from ume_r1_bench.visdoc.decision import decide
from ume_r1_bench.visdoc.drafting import draft
from ume_r1_bench.visdoc.encoders import Encoders
from ume_r1_bench.visdoc.outcome import Prices
from ume_r1_bench.visdoc.own import read_own
from ume_r1_bench.visdoc.page import render
from ume_r1_bench.visdoc.pages import Pages
from ume_r1_bench.visdoc.run import Options, run_visdoc
from ume_r1_bench.visdoc.world_answerer import WorldAnswerer
from ume_r1_bench.world.page import HEADS, KEYS, KINDS, values_of
from ume_r1_bench.world.visdoc import make_visdoc
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError, ServerUnavailable
from ume_r1_rag.media import PdfPages
from ume_r1_trainer.endpoint import ChatEndpoint


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papers")
    make_visdoc(folder, documents=6, pages=3, questions=24)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def server():
    with WorldAnswerer() as server:
        yield server


@pytest.fixture(scope="module")
def encoders(nano_encoder):
    return Encoders(lambda other: nano_encoder)


@pytest.fixture(scope="module")
def report(papers, work, server, encoders):
    """A page a question is answered from: with more, nano finds nearly all there is."""
    with ChatEndpoint(server.base_url, "world", cache=work / "answers") as endpoint:
        return run_visdoc(read_own(papers), work, encoders, endpoint, Options(top=1, judge=True))


def figure(report, name, metric="em"):
    data = report.as_dict()
    return (data["configurations"].get(name, {}).get("answers") or data["bounds"].get(name))[metric][0]


def layers(folder):
    """Returns which PDFs have a text layer."""
    found = {}
    for path in folder.glob("*.pdf"):
        with PdfPages(path) as pdf:
            found[path.name] = bool(pdf.text(1))
    return found


def test_gold_pages_are_better_than_found_ones_and_these_than_none(report):
    assert report.ok, report.failures
    gold, none = figure(report, "gold"), figure(report, "none")
    assert (gold, none) == (1.0, 0.0)
    for name in ("bm25", "disc", "gen"):
        assert gold > figure(report, name) > none, name
    for outcome in report.outcomes:
        # What is answered from one page is right where that page is the right one.
        first = sum(rank == 1 for rank in outcome.first.values())
        assert figure(report, outcome.name) == pytest.approx(first / 24)
        assert figure(report, outcome.name, "judge") == figure(report, outcome.name)


def test_words_find_every_page_that_has_a_text_layer(report, papers):
    (bm25,) = (one for one in report.outcomes if one.name == "bm25")
    layered = layers(papers)
    for number, one in enumerate(report.corpus.questions):
        (page,) = one.pages
        if layered[page.partition("#")[0]]:
            assert bm25.pages["recall@5"][number] == 1
    assert 0 < sum(bm25.pages["recall@1"]) < 24


def test_costs_are_told_and_priced(report):
    spent = {one.name: one.spent for one in report.outcomes}
    # Which is the larger is the machine's affair: other work on it may take any of them longer.
    assert all(one.index_s > 0 and one.search_s > 0 for one in spent.values())
    assert spent["gen"].index_s == spent["fused"].index_s
    assert all(len(one.waits) == 16 for one in spent.values())
    assert all(one.prompt_tokens > 0 for one in spent.values())
    priced = Prices(hour=3.6, prompt=1000.0)
    disc = spent["disc"]
    assert disc.pages(priced) == pytest.approx(disc.index_s / 1000)
    assert disc.queries(priced) == pytest.approx(disc.search_s / 1000 + disc.prompt_tokens / 1000)


def test_the_line_that_decides_stands_on_top(report):
    first = report.table().splitlines()[0]
    assert first == report.line == report.as_dict()["line"]
    assert "by anls" in first
    assert "per 1,000 pages" in first
    assert first.startswith(("DECISION", "NOT DECIDABLE"))
    page = render(report)
    assert page.index("points [") < page.index("Retrieval by page")
    json.dumps(report.as_dict())


def test_the_line_says_when_the_questions_are_too_few(report):
    costs = {"cheap": 1.0, "dear": 2.0}
    spent = report.outcomes[0].spent
    outcomes = tuple(replace(report.outcomes[0], name=name, spent=spent) for name in costs)

    def line(cheap, dear):
        values = {"cheap": cheap, "dear": dear}
        return replace(report, outcomes=outcomes, decision=decide(values, costs, "anls")).line

    even, odd = [1.0, 0.0] * 20, [0.0, 1.0] * 20
    few = "NOT DECIDABLE by anls with 40 questions (to show two to be equal takes 368): cheap "
    assert line(even, odd).startswith(few + "is the cheapest and has the best mean")
    assert line(even, [1.0, *odd[1:]]).startswith(
        few + "is the cheapest that may be within 1 point of the best"
    )
    assert re.search(r"About [\d,]+ questions would tell these two apart", line(even, odd))
    assert line([0.0] * 40, [1.0] * 40).startswith(
        "DECISION: dear is the best by anls (100.0), and no cheaper"
    )
    same = [1.0, 0.0] * 400
    told = line(same, [*same[:-1], 1.0])
    assert told.startswith("DECISION: cheap is the cheapest within 1 point of the best (dear) by anls: 50.0 ")


def test_the_page_takes_no_markup_from_files_questions_or_answers(report):
    evil = '<script>alert("x")</script>\u202e'
    one = replace(report.corpus.questions[0], text=evil, answers=(evil,))
    corpus = replace(report.corpus, name=evil, questions=(one, *report.corpus.questions[1:]))
    outcome = replace(report.outcomes[0], given={one.id: evil})
    hostile = replace(
        report, corpus=corpus, outcomes=(outcome, *report.outcomes[1:]), failures=(evil,), model=evil
    )
    page = render(hostile)
    assert page.count("&lt;script&gt;") >= 6
    assert "<script" not in page
    assert "\u202e" not in page


def test_a_second_run_encodes_searches_and_asks_nothing(report, papers, work, server, make_encoder):
    def fail(other):
        raise AssertionError("no model is needed")

    asked = server.requests
    nano = report.fingerprint

    class Gone:
        """What is left of nano once everything is stored: its fingerprint, and that it takes pictures."""

        fingerprint, spaces, think, model = nano, ("disc", "gen"), "full", "nano"
        kinds, max_image_pixels, max_video_frames = frozenset(["page"]), 50_176, 8

        def encode_query(self, *arguments, **options):
            fail(None)

        def encode_document(self, inputs, mode, on_error):
            return [None] if len(inputs) == 1 and inputs[0].size == (56, 56) else fail(None)

    with ChatEndpoint(server.base_url, "world", cache=work / "answers") as endpoint:
        options = Options(configs=("bm25", "disc", "gen", "fused"), top=1, judge=True)
        again = run_visdoc(read_own(papers), work, Encoders(lambda other: Gone()), endpoint, options)
    assert server.requests == asked
    kept = {one.name: one for one in report.outcomes}
    for one in again.outcomes:
        assert (one.pages, one.answers, one.given) == (
            kept[one.name].pages,
            kept[one.name].answers,
            kept[one.name].given,
        )
        assert one.spent.index_s == kept[one.name].spent.index_s
        assert one.spent.answer_waits == []


def test_a_removed_pdf_leaves_the_index_and_a_changed_question_is_asked_anew(papers, tmp_path, make_encoder):
    for path in sorted(papers.glob("*.pdf"))[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first, *others = sorted(tmp_path.glob("*.pdf"))
    table = tmp_path / "questions.csv"
    table.write_text(f"id,question,file,pages\nq,what?,{others[0].name},1\n", encoding="utf-8")
    encoders = Encoders(lambda other: make_encoder())
    options = Options(configs=("disc",))
    ranked = [run_visdoc(read_own(tmp_path), tmp_path / "work", encoders, None, options)]
    first.unlink()
    table.write_text(f"id,question,file,pages\nq,rent?,{others[0].name},1\n", encoding="utf-8")
    ranked.append(run_visdoc(read_own(tmp_path), tmp_path / "work", encoders, None, options))
    lines = [json.loads(line) for line in next((tmp_path / "work").rglob("disc.jsonl")).open()]
    texts = [(line["text"], len(line["pages"])) for line in lines if "text" in line]
    assert texts == [("what?", 9), ("rent?", 6)]
    assert ranked[1].answerer is None
    assert "disc is the only configuration: ndcg@5" in ranked[1].line


def test_a_model_without_gen_is_measured_by_what_it_has(papers, tmp_path, make_encoder):
    encoders = Encoders(lambda other: make_encoder(spaces=("disc",)))
    assert [one.name for one in encoders.able([])] == ["bm25", "disc"]
    with pytest.raises(ConfigError, match="gen needs gen vectors"):
        run_visdoc(read_own(papers), tmp_path, encoders, None, Options(configs=("gen",)))
    with pytest.raises(ConfigError, match=r"no configuration 'dense'.*st:MODEL"):
        configurations(["dense"])
    with pytest.raises(ConfigError, match="named once"):
        configurations(["disc", "disc"])
    other = Encoders(lambda name: make_encoder(model=name or "main", spaces=("disc",)))
    found = run_visdoc(read_own(papers), tmp_path, other, None, Options(configs=("disc", "st:other")))
    assert [one.name for one in found.outcomes] == ["disc", "st:other"]
    assert found.outcomes[0].pages != found.outcomes[1].pages


def test_what_is_not_answered_is_left_out_everywhere_and_told(papers, work, server, encoders):
    corpus = read_own(papers)
    lost = replace(corpus.questions[0], text=corpus.questions[0].text + " and why?")
    corpus = replace(corpus, questions=(lost, *corpus.questions[1:8]))
    handled = server.answer

    def answer(asked):
        if "and why?" in json.dumps(asked) and len(asked["messages"][0]["content"]) == 1:
            raise ValueError("told to")
        return handled(asked)

    server.answer = answer
    try:
        with ChatEndpoint(server.base_url, "world", retries=0) as endpoint:
            found = run_visdoc(corpus, work, encoders, endpoint, Options(configs=("bm25", "disc"), top=1))
    finally:
        del server.answer
    assert not found.ok
    assert found.answered == 7
    assert len(found.outcomes[0].pages["ndcg@5"]) == 8
    assert "was not answered: status 400" in found.failures[0]


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """A sentence-transformers model that reads words alone: a random vector for each of the world's."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = [*HEADS, *KINDS, *KEYS, *values_of("test")]
    tokenizer.train_from_iterator([" ".join(words)], trainers.WordLevelTrainer(special_tokens=["[UNK]"]))
    size = tokenizer.get_vocab_size()
    weights = np.random.default_rng(0).standard_normal((size, 64)).astype(np.float32)
    weights[0] = 0  # of words that it does not know
    path = tmp_path_factory.mktemp("static") / "model"
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(path))
    return path


def test_a_text_model_of_sentence_transformers_finds_by_text_layers(papers, tmp_path, text_model):
    out = tmp_path / "o.json"
    configs = f"bm25,st:{text_model}"
    done = run("--own", papers, "--configs", configs, "--work", tmp_path, "--out", out, "--endpoint", "world")
    assert done.exit_code == 0, done.output
    data = json.loads(out.read_text(encoding="utf-8"))
    name = f"st:{text_model}"
    found = [one for one in data["questions"] if one["ranks"][name] is not None]
    layered = layers(papers)
    assert found == [one for one in data["questions"] if layered[next(iter(one["pages"])).partition("#")[0]]]
    assert 0 < len(found) < len(data["questions"])
    assert sum(one["ranks"][name] == 1 for one in found) > len(found) / 3


def run(*arguments):
    return CliRunner().invoke(app, ["bench", "visdoc", *map(str, arguments)])


def test_the_command_drafts_questions_where_there_are_none(papers, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for path in sorted(papers.glob("*.pdf"))[:2]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7")
    out, html = tmp_path / "o.json", tmp_path / "o.html"
    common = ("--model", "nano", "--configs", "bm25,disc", "--work", tmp_path / "work")
    refused = run("--own", folder, *common)
    assert refused.exit_code == 2
    assert "no CSV of questions" in refused.output
    done = run("--own", folder, *common, "--endpoint", "world", "--limit", 4, "--out", out, "--html", html)
    assert done.exit_code == 1, done.output
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data["corpus"]["synthetic"] is True
    assert data["corpus"]["questions"] == 4
    assert data["bounds"]["gold"]["em"][0] == 1
    assert "broken.pdf" in data["failures"][0]
    assert "synthetic questions" in done.stdout
    assert "synthetic" in html.read_text(encoding="utf-8")
    (table,) = (tmp_path / "work").rglob("drafted.csv")
    again = run("--own", folder, "--questions", table, *common)
    assert "synthetic questions" in again.stdout


def test_an_endpoint_that_does_not_answer_is_told_before_anything_is_done(papers, tmp_path, encoders):
    with ChatEndpoint("http://127.0.0.1:9/v1", "none", retries=0) as endpoint:
        with pytest.raises(ServerUnavailable, match=r"none at http://127\.0\.0\.1:9/v1 does not answer"):
            run_visdoc(read_own(papers), tmp_path / "work", encoders, endpoint, Options())
        with pytest.raises(ServerUnavailable):
            draft(endpoint, read_own(papers), Pages(read_own(papers), tmp_path), tmp_path / "d.csv")
    assert not (tmp_path / "work").exists()


def test_the_command_refuses_what_does_not_go_together(papers, tmp_path):
    assert "one of --own DIR and --set NAME" in run("--model", "nano").output
    assert "which model" in run("--own", papers, "--endpoint", "http://localhost:1/v1").output
    listed = run("--list-sets")
    assert listed.exit_code == 0
    assert "vidore/vidore_v3_hr" in listed.stdout
    (tmp_path / "a.pdf").write_bytes(text_pdf(["rent k4t"]))
    (tmp_path / "q.csv").write_text("question,file,pages\nwhat?,a.pdf,9\n", encoding="utf-8")
    done = run("--own", tmp_path, "--model", "nano", "--work", tmp_path / "w")
    assert done.exit_code == 1
    assert (
        "no question that can be measured: line 2 of q.csv: pages='9': a.pdf has pages 1 to 1" in done.output
    )
