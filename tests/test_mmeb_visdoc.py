from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from mmeb_rows import load, touch, write
from PIL import Image

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.protocol import PROTOCOLS
from ume_r1_bench.world.mmeb.folder import write_parquet


def beir(home: Path, queries, corpus, qrels):
    write(home / "queries/test.jsonl", queries)
    write(home / "corpus/test.jsonl", corpus)
    write(
        home / "qrels/test.jsonl",
        [dict(zip(("query-id", "corpus-id", "score"), row, strict=True)) for row in qrels],
    )


def test_pages_come_with_grades_above_zero_the_highest_of_several(tmp_path):
    pages = tmp_path / "visdoc-tasks/esg_reports_human_labeled_v2"
    beir(
        pages,
        [{"query-id": 5, "query": "How much?", "language": "english"}],
        [{"corpus-id": 1}, {"corpus-id": 2}, {"corpus-id": 3}],
        [(5, 3, 1), (5, 2, 1), (5, 2, 2), (5, 1, 0), (6, 1, 1)],
    )
    touch(*(pages / f"{number}.png" for number in (1, 2, 3)))
    data = load("ViDoRe_esg_reports_human_labeled_v2", tmp_path)
    (query,) = data.queries
    assert query.relevance == {"3": 1.0, "2": 2.0}
    assert query.candidates is None
    assert list(data.candidates) == ["3", "2", "1"]
    assert data.rows == 5
    assert query.item.rendered == "Find a document image that matches the given query: How much?"
    assert data.candidates["1"].rendered == (
        "<|image_pad|> Understand the content of the provided document image."
    )
    bare = load("ViDoRe_esg_reports_human_labeled_v2", tmp_path, PROTOCOLS["v2.0.1"])
    assert (bare.queries[0].item.rendered, bare.queries[0].item.text) == (" How much?", "How much?")
    assert (bare.candidates["1"].rendered, bare.candidates["1"].text) == ("<|image_pad|> ", None)
    assert bare.candidates["1"].to_input().images == (pages / "1.png",)


def test_english_extras_ask_only_english_queries(tmp_path):
    rows = [
        {"query-id": n, "query": f"q{n}", "language": lang} for n, lang in enumerate(("english", "french"))
    ]
    home = tmp_path / "visdoc-tasks/economics_reports_v2"
    beir(home, rows, [{"corpus-id": 9}], [(0, 9, 1), (1, 9, 1)])
    touch(home / "9.png", tmp_path / "visdoc-tasks/economics_reports_v2_multilingual/9.png")
    assert [q.item.text for q in load("ViDoRe_economics_reports_v2", tmp_path).queries] == [
        "Find a document image that matches the given query: q0"
    ]
    assert len(load("ViDoRe_economics_reports_v2_multilingual", tmp_path).queries) == 2


def test_a_query_that_no_page_answers_is_refused(tmp_path):
    home = tmp_path / "visdoc-tasks/docvqa_test_subsampled_beir"
    beir(home, [{"query-id": 1, "query": "q"}], [{"corpus-id": 1}], [(1, 1, 0)])
    with pytest.raises(
        MmebError, match=r"ViDoRe_docvqa: no page answers the query in the row .*'query': 'q'"
    ):
        load("ViDoRe_docvqa", tmp_path)
    beir(home, [{"query-id": 1, "query": "q"}], [{"corpus-id": 1}], [(1, 7, 1)])
    with pytest.raises(MmebError, match=r"the corpus lacks \(7\)"):
        load("ViDoRe_docvqa", tmp_path)


def test_visrag_cuts_long_names_of_pages(tmp_path):
    name = "a" * 60 + ".v1.jpg"
    digest = hashlib.md5(name.encode()).hexdigest()[:8]
    home = tmp_path / "visdoc-tasks/VisRAG-Ret-Test-ChartQA"
    for config, row in (
        ("queries", {"query-id": "q", "query": "?"}),
        ("corpus", {"corpus-id": name}),
        ("qrels", {"query-id": "q", "corpus-id": name, "score": 1}),
    ):
        write(home / config / "train.jsonl", [row])
    path = tmp_path / "visdoc-tasks/VisRAG_ChartQA" / f"{'a' * 50}_{digest}.jpg"
    touch(path)
    for protocol in PROTOCOLS.values():
        data = load("VisRAG_ChartQA", tmp_path, protocol)
        assert data.candidates[name].images == (path,)
        assert data.queries[0].item.text == "Find a document image that matches the given query: ?"


def test_pages_of_the_two_versions_never_mix(tmp_path):
    # The same id means another page; the evaluator keeps both in one folder, and whichever came first stays.
    for repo, colour in (("ViDoSeek-page", "red"), ("ViDoSeek-page-fixed", "blue")):
        home = tmp_path / "visdoc-tasks" / repo
        beir(home, [{"query-id": 1, "query": "q"}], [], [(1, 4, 1)])
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        (home / "corpus/test.jsonl").unlink()
        write_parquet(home / "corpus/test.parquet", [{"corpus-id": 4, "image": {"bytes": buffer.getvalue()}}])
    Image.new("RGB", (8, 8), "green").save(tmp_path / "visdoc-tasks/ViDoSeek-page/4.png")
    shown = {}
    for name in ("v2.0.1", "v2.1"):
        (path,) = load("ViDoSeek-page", tmp_path, PROTOCOLS[name]).candidates["4"].images
        with Image.open(path) as page:
            shown[name] = page.getpixel((0, 0))
    assert shown == {"v2.0.1": (255, 0, 0), "v2.1": (0, 0, 255)}
