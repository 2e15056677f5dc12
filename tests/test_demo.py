"""The demo: it runs through and says honestly what was right, whatever that is."""

import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from ume_r1_bench import demo
from ume_r1_bench.demo import Answer, Question
from ume_r1_rag.cli.app import app
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import SearchResult
from ume_r1_rag.types import Embedding, Hit


def hit(name):
    title, _, page = name.partition("#page=")
    stored = {"ume_title": title, "ume_page": int(page) if page else None}
    return Hit(f"/where/ever/{name}", 0.5, {}, stored)


def answer(gold, **first):
    """An answer whose hits per mode are the given names, joined by commas."""
    results = {}
    for mode, keys in first.items():
        hits = tuple(hit(name) for name in keys.split(","))
        results[mode] = SearchResult(hits, Embedding(None, None), mode, (), None, 0.0, 0.0)
    return Answer(Question("which one", None, "image", demo.shown(hit(gold))), results)


def test_what_is_right_is_counted_and_what_is_wrong_is_shown():
    answers = [
        answer("a.png", disc="a.png,b.png", gen="b.png,a.png", fused="a.png,b.png"),
        answer(
            "r.pdf#page=2", disc="a.png,b.png", gen="r.pdf#page=2,a.png", fused="r.pdf#page=1,r.pdf#page=2"
        ),
    ]
    assert demo.closing(answers, 4) == (
        "Of 2 questions right at rank 1: disc 1, gen 1, fused 1 (guessing: 0.5)"
    )
    text = demo.table(answers)
    first, second = text.split("\n\n")
    assert first.splitlines()[2].split() == ["1", "which", "one", "✓", "a", "✗", "b", "✓", "a"]
    assert first.splitlines()[3].split() == ["→", "a", "right", "one:", "rank", "2"]
    assert second.splitlines()[0].split() == ["2", "which", "one", "✗", "a", "✓", "r", "p2", "✗", "r", "p1"]
    assert second.splitlines()[1].split()[:5] == ["→", "r", "p2", "not", "found"]
    assert max(len(line) for line in text.splitlines()) <= demo.WIDTH
    coloured = demo.table(answers, colour=True)
    assert coloured.count("\x1b[32m") == 3
    assert coloured.count("\x1b[31m") == 6


def test_an_index_of_before_is_replaced_and_nothing_else(tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "mine.txt").write_text("dear")
    with pytest.raises(demo.ConfigError, match="is no index"):
        demo.run_demo(tmp_path)
    assert (tmp_path / "index" / "mine.txt").is_file()
    with QdrantIndex(tmp_path / "old", fingerprint={"dimension": 4}):
        pass
    demo._clear(tmp_path / "old")
    demo._clear(tmp_path / "old")
    assert not (tmp_path / "old").exists()


def test_the_demo_runs_through(tmp_path, monkeypatch, capsys, nano_encoder):
    import ume_r1_rag.encoder

    monkeypatch.setattr(ume_r1_rag.encoder, "UmeR1Encoder", lambda name, **options: nano_encoder)
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert "A toy" in said
    assert next(line for line in lines if line.startswith("Of 8 questions right at rank 1: disc "))
    # A command to be copied is as long as the folder's name makes it.
    assert max(len(line) for line in lines if not line.startswith("  Ask ")) <= demo.WIDTH
    questions = [
        json.loads(line) for line in (tmp_path / "demo" / "questions.jsonl").read_text().splitlines()
    ]
    assert sum(line.startswith(("  → ", "   → ")) for line in lines) == len(questions) == 8
    html = (tmp_path / "demo" / "results.html").read_text(encoding="utf-8")
    assert html.count('<section class="query"') == 8
    # The page tells what the terminal does, also of a document that it does not show.
    ranks = [int(rank) for rank in re.findall(r">right at rank (\d+)", html.split("</ol>")[0])]
    assert len(ranks) == 8
    assert f"fused {ranks.count(1)} (guessing" in said
    assert "not found" not in html
    # What it says to ask is found.
    command = said[said.index("  Ask ") :].replace("\\\n", "").split("which finds ")
    words = shlex.split(command[0])[1:]
    assert words[:2] == [words[0], "search"]
    found = CliRunner().invoke(app, [*words[1:], "--json"])
    assert found.exit_code == 0, found.output
    first = json.loads(found.stdout)["hits"][0]
    assert demo.short((first["title"], first["page"])) == command[1].split("\n")[0]
    with QdrantIndex(tmp_path / "demo" / "index") as index:
        info = index.info()
        known = {demo.shown(hit) for hit in index.scroll()}
    assert info.points == info.coverage["disc"] == info.coverage["gen"] == 27
    golds = [Question.read(line, tmp_path / "demo").gold for line in questions]
    assert len(set(golds)) == 8
    assert set(golds) <= known


def test_help_is_help_and_not_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, status in ((["--help"], 0), (["--nonsense"], 2)):
        with pytest.raises(SystemExit) as ended:
            demo.main(arguments)
        assert ended.value.code == status
    assert "--folder DIR" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
