"""Corpora of VisDoc RAG: a folder of one's own, and the layouts of public test sets."""

import json
import textwrap
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from made_files import text_pdf
from PIL import Image
from pyarrow import parquet

from ume_r1_bench.visdoc.beir import local_rows, read_beir
from ume_r1_bench.visdoc.corpus import VisdocError
from ume_r1_bench.visdoc.drafting import write_table
from ume_r1_bench.visdoc.encoders import Encoders
from ume_r1_bench.visdoc.own import read_own, read_pages
from ume_r1_bench.visdoc.run import Options, run_visdoc
from ume_r1_bench.visdoc.sets import read_set, test_sets
from ume_r1_bench.visdoc.writing import pictures_of, texts_of, write_documents
from ume_r1_rag import QdrantIndex

HEAD = "question,answers,file,pages\n"


@pytest.fixture
def folder(tmp_path):
    """Two PDFs, one in a subfolder, a broken one, and a picture."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.pdf").write_bytes(text_pdf(["rent k4t", "tide b7m"], box=(300, 300)))
    (tmp_path / "deep" / "b.pdf").write_bytes(text_pdf(["load c2d"], box=(300, 300)))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 no more")
    Image.new("RGB", (60, 60), "red").save(tmp_path / "scan.png")
    (tmp_path / "note.txt").write_text("no page", encoding="utf-8")
    return tmp_path


def test_a_folder_gives_its_pages_and_tells_what_it_could_not_read(folder):
    corpus = read_own(folder)
    assert corpus.documents == {
        "a.pdf#page=1": "a.pdf",
        "a.pdf#page=2": "a.pdf",
        "deep/b.pdf#page=1": "deep/b.pdf",
        "scan.png": "scan.png",
    }
    assert not corpus.questions
    (failure,) = corpus.failures
    assert "broken.pdf" in failure


def test_a_csv_gives_questions_and_wrong_rows_are_told_and_left_out(folder):
    (folder / "mine.csv").write_text(
        "id,Question,answers,file,pages\n"
        "one,what is the rent?,K4T|k4t,a.pdf,1\n"
        "both,what of the load?,C2D,a.pdf,1;2\n"
        "both,what of the load?,c2d,deep/b.pdf,1\n"
        ",what is red?,,scan.png,\n"
        "late,what is the rent?,K4T,a.pdf,3\n"
        "gone,what is the rent?,K4T,broken.pdf,1\n"
        "both,another question?,K4T,a.pdf,1\n"
        ",,K4T,a.pdf,1\n",
        encoding="utf-8",
    )
    corpus = read_own(folder)
    one, both, red = corpus.questions
    assert (one.answers, dict(one.pages)) == (("K4T", "k4t"), {"a.pdf#page=1": 1.0})
    assert set(both.pages) == {"a.pdf#page=1", "a.pdf#page=2", "deep/b.pdf#page=1"}
    assert (red.id, red.answers, dict(red.pages)) == ("line-5", (), {"scan.png": 1.0})
    told = "\n".join(corpus.failures)
    for part in ("line 6", "has pages 1 to 2", "broken.pdf", "line 8", "line 9", "no question"):
        assert part in told
    assert len(corpus.failures) == 5


def test_the_csv_of_the_documentation_is_read(folder):
    text = (Path(__file__).parents[1] / "docs" / "visdoc.md").read_text(encoding="utf-8")
    block = text.partition("```csv\n")[2].partition("```")[0]
    (folder / "reports").mkdir()
    (folder / "reports" / "q4.pdf").write_bytes(text_pdf(["x"] * 12))
    (folder / "questions.csv").write_text(textwrap.dedent(block), encoding="utf-8")
    corpus = read_own(folder)
    assert [len(one.pages) for one in corpus.questions] == [1, 2]
    assert corpus.questions[0].answers == ("4.2 million", "4.2m")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_of_other_countries_are_read(folder, separator):
    rows = [["question", "answers", "file", "pages"], ["what is the rent?", "K4T", "a.pdf", "2"]]
    (folder / "q.csv").write_text("\ufeff" + "\r\n".join(map(separator.join, rows)), encoding="utf-8")
    (one,) = read_own(folder).questions
    assert dict(one.pages) == {"a.pdf#page=2": 1.0}


def test_what_cannot_be_used_at_all_is_an_error_with_a_remedy(folder, tmp_path_factory):
    with pytest.raises(VisdocError, match="holds no PDF"):
        read_own(tmp_path_factory.mktemp("empty"))
    (folder / "a.csv").write_text("question,page\n", encoding="utf-8")
    with pytest.raises(VisdocError, match="no column 'file'"):
        read_own(folder)
    (folder / "b.csv").write_text(HEAD, encoding="utf-8")
    with pytest.raises(VisdocError, match="several CSVs"):
        read_own(folder)
    (folder / "questions.csv").write_text(HEAD + "what?,,a.pdf,1\n", encoding="utf-8")
    assert len(read_own(folder).questions) == 1


def test_drafted_questions_are_marked_where_they_are_read_back(folder):
    (folder / "q.csv").write_text(
        HEAD + "what is it?,K4T,a.pdf,2\nwhat is red?,,scan.png,\n", encoding="utf-8"
    )
    own = read_own(folder)
    assert not own.synthetic
    table = folder.parent / "drafted.csv"
    write_table(table, list(own.questions))
    again = read_own(folder, table)
    assert again.synthetic
    assert [(one.text, one.answers, one.pages) for one in again.questions] == [
        (one.text, one.answers, one.pages) for one in own.questions
    ]


def test_a_limit_draws_questions_and_keeps_all_pages(folder):
    lines = [f"what is {n}?,K4T,a.pdf,1\n" for n in range(50)]
    (folder / "q.csv").write_text(HEAD + "".join(lines), encoding="utf-8")
    corpus = read_own(folder)
    drawn = corpus.sampled(10, 0)
    assert len(drawn.questions) == 10
    assert drawn.documents == corpus.documents
    assert drawn.questions != corpus.questions[:10]
    assert drawn == corpus.sampled(10, 0) != corpus.sampled(10, 1)


def png(colour):
    buffer = BytesIO()
    Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def page(colour):
    return {"bytes": png(colour), "path": None}


def test_vidore_v1_and_visrag_are_read(tmp_path):
    write(
        tmp_path / "corpus" / "test-00000-of-00001.parquet",
        [{"corpus-id": 7, "image": page("red")}, {"corpus-id": 8, "image": page("blue")}],
    )
    write(
        tmp_path / "queries" / "test-0.parquet",
        [
            {"query-id": 1, "query": "what is red?", "answer": '["red", "crimson"]'},
            {"query-id": 2, "query": "what is nothing?", "answer": None},
        ],
    )
    write(
        tmp_path / "qrels" / "test-0.parquet",
        [{"query-id": 1, "corpus-id": 7, "score": 1}, {"query-id": 1, "corpus-id": 8, "score": 0}],
    )
    corpus = read_beir("v1", local_rows(tmp_path), tmp_path / "pictures")
    (one,) = corpus.questions
    assert (one.id, one.answers, dict(one.pages)) == ("1", ("red", "crimson"), {"7": 1.0})
    assert corpus.left_out == {"no page answers them": 1}
    assert not corpus.has_documents
    assert [Image.open(picture.image).getpixel((0, 0)) for picture in corpus.pictures] == [
        (255, 0, 0),
        (0, 0, 255),
    ]


def test_vidore_v3_is_read_with_documents_text_grades_and_one_language(tmp_path):
    write(
        tmp_path / "corpus" / "test-0.parquet",
        [
            {
                "corpus_id": n,
                "image": page("red"),
                "doc_id": "report",
                "markdown": f"| row {n} |",
                "page_number_in_doc": n,
            }
            for n in range(3)
        ],
    )
    write(
        tmp_path / "queries" / "test-0.parquet",
        [
            {
                "query_id": 1,
                "query": "what?",
                "language": "english",
                "answer": "yes",
                "raw_answers": ["yes", "aye"],
            },
            {"query_id": 2, "query": "quoi ?", "language": "french", "answer": "oui", "raw_answers": ["oui"]},
        ],
    )
    write(
        tmp_path / "qrels" / "test-0.parquet",
        [
            {"query_id": 1, "corpus_id": 0, "score": 1},
            {"query_id": 1, "corpus_id": 2, "score": 2},
            {"query_id": 2, "corpus_id": 2, "score": 2},
        ],
    )
    corpus = read_set("vidore-v3/hr", tmp_path, tmp_path / "pictures")
    (one,) = corpus.questions
    assert (one.answers, dict(one.pages)) == (("yes", "aye"), {"0": 1.0, "2": 2.0})
    assert corpus.left_out == {"asked in another language than english": 1}
    last = corpus.pictures[-1]
    assert (last.document, last.number, last.text) == ("report", 3, "| row 2 |")
    assert len(read_set("vidore-v3/hr", tmp_path, tmp_path / "pictures", "all").questions) == 2


def test_json_lines_with_files_beside_them_are_read(tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    for part, rows in {
        "corpus": [{"corpus-id": "r", "image": "red.png"}, {"corpus-id": "x", "image": "gone.png"}],
        "queries": [{"query-id": "q", "query": "what is red?"}],
        "qrels": [{"query-id": "q", "corpus-id": "r", "score": 1}],
    }.items():
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    corpus = read_beir("lines", local_rows(tmp_path), tmp_path / "pictures", base=tmp_path)
    assert [picture.id for picture in corpus.pictures] == ["r"]
    assert "'x'" in corpus.failures[0]
    assert len(corpus.questions) == 1


def test_vidoseek_and_mmlongbench_are_read(folder):
    example = {
        "uid": "u1",
        "query": "what is the tide?",
        "reference_answer": "B7M",
        "meta_info": {"file_name": "a.pdf", "reference_page": [2]},
    }
    lost = {**example, "uid": "u2", "meta_info": {"file_name": "gone.pdf", "reference_page": [1]}}
    (folder / "vidoseek.json").write_text(json.dumps({"examples": [example, lost]}), encoding="utf-8")
    corpus = read_set("vidoseek", folder, folder / "none")
    (one,) = corpus.questions
    assert (one.answers, dict(one.pages)) == (("B7M",), {"a.pdf#page=2": 1.0})
    assert any("gone.pdf" in failure for failure in corpus.failures)
    rows = [
        {"doc_id": "b.pdf", "question": "what is the load?", "answer": "C2D", "evidence_pages": "[1]"},
        {
            "doc_id": "b.pdf",
            "question": "what is it not?",
            "answer": "Not answerable",
            "evidence_pages": "[]",
        },
    ]
    (folder / "samples.json").write_text(json.dumps(rows), encoding="utf-8")
    corpus = read_set("mmlongbench", folder, folder / "none")
    assert [dict(one.pages) for one in corpus.questions] == [{"deep/b.pdf#page=1": 1.0}]
    assert corpus.left_out == {"no page answers them": 1}


def test_an_absent_set_is_told_with_where_it_was_looked_for(tmp_path, monkeypatch):
    with pytest.raises(VisdocError, match="no corpus: looked for"):
        read_set("visrag/ChartQA", tmp_path, tmp_path / "pictures")
    with pytest.raises(VisdocError, match="choose one of vidore-v1/arxivqa"):
        read_set("visrag", tmp_path, tmp_path / "pictures")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(VisdocError, match="hf download --repo-type dataset openbmb/VisRAG-Ret-Test-ChartQA"):
        read_set("visrag/ChartQA", None, tmp_path / "pictures")
    assert len(test_sets()) == 34


def test_pictures_are_written_as_pages_once_with_their_text(folder, make_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("index")
    write(
        folder / "corpus" / "test-0.parquet",
        [
            {
                "corpus_id": n,
                "image": page(colour),
                "doc_id": "report",
                "markdown": f"words of {colour}",
                "page_number_in_doc": n,
            }
            for n, colour in enumerate(("red", "blue", "green"))
        ],
    )
    write(folder / "queries" / "test-0.parquet", [{"query_id": 1, "query": "what is blue?"}])
    write(folder / "qrels" / "test-0.parquet", [{"query_id": 1, "corpus_id": 1, "score": 1}])
    corpus = read_beir("v3", local_rows(folder), folder / "pictures")
    encoder = make_encoder()
    with QdrantIndex(path, fingerprint=encoder.fingerprint) as index:
        assert write_documents(index, encoder, pictures_of(corpus), "disc") == (3, [])
        assert write_documents(index, encoder, pictures_of(corpus), "disc") == (0, [])
        assert write_documents(index, encoder, pictures_of(corpus), "both") == (3, [])
        (hit,) = index.retrieve(["1"])
        assert (hit.kind, hit.page, hit.document, hit.text) == ("page", 2, "report", "words of blue")
    assert encoder.seen[0].instruction == "Understand the content of the provided document image."
    report = run_visdoc(
        corpus,
        path / "work",
        Encoders(lambda other: encoder),
        None,
        Options(configs=("bm25", "disc", "fused")),
    )
    assert report.ok
    assert report.outcomes[0].first["1"] == 1
    assert all(one.documents["recall@1"] == [1.0] for one in report.outcomes)
    assert read_pages(folder).name == folder.name


def test_text_layers_are_pages_for_a_model_that_reads_no_pictures(folder):
    corpus = read_pages(folder)
    failures = []
    found = {one.key: (one.input.text, one.page, one.document) for one in texts_of(corpus, failures)}
    assert found == {
        "a.pdf#page=1": ("rent k4t", 1, "a.pdf"),
        "a.pdf#page=2": ("tide b7m", 2, "a.pdf"),
        "deep/b.pdf#page=1": ("load c2d", 1, "deep/b.pdf"),
    }
    assert not failures
