"""The index benchmark: both sides find the same; every figure is there, however large."""

import json
from dataclasses import replace

import numpy as np
import pypdfium2
import pytest
from typer.testing import CliRunner

from ume_r1_bench import index_bench
from ume_r1_bench.index_bench import Options
from ume_r1_bench.index_report import Cost, IndexReport, Ingesting, Searching, Writing
from ume_r1_bench.ingestion.paper import write_paper
from ume_r1_bench.stores.errors import BenchError
from ume_r1_bench.stores.kinds import BATCH, KINDS
from ume_r1_bench.stores.ours import Ours
from ume_r1_bench.stores.pair import alike
from ume_r1_bench.stores.peak import Peak
from ume_r1_bench.stores.plain import NAME, Plain
from ume_r1_bench.stores.points import VARIETY, Points
from ume_r1_bench.stores.worker import Worker
from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError

D = 16


def ran(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# ---- both sides


@pytest.fixture(scope="module")
def both():
    """Both sides' stores, with the same 200 points."""
    points = Points(D)
    block = points.block(0, VARIETY)
    found = {"ours": Ours(points, ":memory:"), "plain": Plain(points, ":memory:")}
    for store in found.values():
        store.write(store.prepare(block))
    yield found
    for store in found.values():
        store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_find_the_same(both, kind):
    queries = Points(D).queries(BATCH, VARIETY)
    for first in range(0, BATCH, 4):
        asked = queries if kind == "batch" else [queries[first]]
        ours, plain = (
            store.search(kind, [store.prepare_query(one) for one in asked], VARIETY)
            for store in both.values()
        )
        assert len(ours) == len(plain) == len(asked)
        assert all(len(one) == 10 for one in plain)
        for mine, theirs in zip(ours, plain, strict=True):
            assert alike(mine, theirs)
            if kind not in ("rrf", "dbsf"):  # ranks tie
                assert [id for id, _ in mine] == [id for id, _ in theirs]


def test_both_sides_store_the_same(both):
    ours = both["ours"]._index
    mine = {
        record.id: record
        for record in ours.share_client().scroll(ours.physical, limit=500, with_vectors=True)[0]
    }
    theirs = {one.id: one for one in both["plain"].client.scroll(NAME, limit=500, with_vectors=True)[0]}
    assert mine.keys() == theirs.keys()
    for id, record in mine.items():
        assert record.vector["text"] == theirs[id].vector["text"]
        assert np.allclose(record.vector["gen"], theirs[id].vector["gen"])
        sizes = [len(json.dumps(one.payload)) for one in (record, theirs[id])]
        assert sizes[0] - sizes[1] == len(', "ume_spaces": ["disc", "gen", "text"]')


def test_points_are_the_same_every_time_and_differ_by_seed():
    def shown(points):
        block = points.block(7, 1)
        return block.documents[0], block.embeddings[0].disc.tolist(), points.queries(2, 50)[1].words

    assert shown(Points(D)) == shown(Points(D))
    assert shown(Points(D, 1))[1] != shown(Points(D))[1]
    document, embedding = Points(D).block(7, 1).documents[0], Points(D).block(7, 1).embeddings[0]
    assert document.key == "/corpus/000000.pdf#page=8"
    assert np.linalg.norm(embedding.gen) == pytest.approx(1, abs=1e-5)


def test_a_query_is_near_the_point_that_it_was_made_from():
    points = Points(64)
    (query,) = points.queries(1, 40)
    cosines = [float(one.disc @ query.embedding.disc) for one in points.block(0, 40).embeddings]
    assert max(cosines) > 0.7 > sorted(cosines)[-2]
    best = points.block(0, 40).documents[int(np.argmax(cosines))]
    assert set(query.words.split()) <= set(best.text.split())
    assert query.shelf == best.metadata["shelf"]


# ---- what counts as the same


@pytest.mark.parametrize(
    ("ours", "plain", "same"),
    [
        ([("a", 0.9), ("b", 0.5)], [("a", 0.9), ("b", 0.5)], True),
        ([("a", 0.9), ("b", 0.5)], [("a", 0.9), ("c", 0.5)], True),  # tied for the last place
        ([("a", 0.9), ("b", 0.9)], [("b", 0.9), ("a", 0.9)], True),
        ([("a", 0.9), ("b", 0.5)], [("c", 0.9), ("b", 0.5)], False),
        ([("a", 0.9), ("b", 0.5)], [("a", 0.9), ("b", 0.4)], False),
        ([("a", 0.9), ("b", 0.5)], [("b", 0.9), ("a", 0.5)], False),
        ([("a", 0.9)], [], False),
        ([], [], True),
    ],
)
def test_rankings_are_alike_but_for_ties(ours, plain, same):
    assert alike(ours, plain) is same


def test_nothing_is_measured_if_the_sides_differ(monkeypatch):
    search = Plain.search

    def worse(self, kind, queries, depth):
        found = search(self, kind, queries, depth)
        return [ranking[1:] for ranking in found] if kind == "grouped" else found

    monkeypatch.setattr(Plain, "search", worse)
    with pytest.raises(BenchError, match=r"grouped: ours found \[\(.*plain qdrant-client found \[\("):
        index_bench.run_index_bench(Options(dimension=D), progress=False)


# ---- processes and memory


def test_a_worker_answers_and_tells_what_failed_there():
    with Worker(dict) as worker:  # importable there, and has no `close`
        worker.call("update", {"a": 1})
        assert worker.call("get", "a") == 1
        with pytest.raises(BenchError, match=r"dict failed: (.|\n)*KeyError: 'b'"):
            worker.call("__getitem__", "b")
    with pytest.raises(BenchError, match="TypeError"):
        Worker(dict, 1)


def test_the_peak_is_what_was_in_use_at_most_since_the_mark():
    peak = Peak()
    if peak.mib() is None:
        pytest.skip("only Linux tells")
    held = np.ones(8 << 20, dtype=np.float64)  # 64 MiB
    del held
    assert 60 < peak.mib() < 120
    peak.mark()
    assert peak.mib() < 30


# ---- a whole run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One small run from the command line: what it printed, and its figures."""
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    done = ran("bench", "index", "--sizes", 20, "--dimension", D, "--queries", 2, "--pages", 0, "--out", out)
    assert done.exit_code == 0, done.output
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def test_a_run_has_every_figure(run):
    _, figures = run
    assert [(row["kind"], row["points"]) for row in figures["searching"]] == [(kind, 20) for kind in KINDS]
    for row in figures["searching"]:
        for side in ("ours", "plain"):
            assert len(row[side]["seconds"]) == len(row[side]["cpu_s"]) == 2
            assert min(row[side]["seconds"]) > 0
        assert row["same"] == 1.0  # all 20 points are among the 100 candidates
    assert [(row["place"], row["points"]) for row in figures["writing"]] == [
        ("memory", 20),
        ("folder", 20),
    ]
    assert figures["ingesting"] == []
    meta = figures["meta"]
    assert (meta["dimension"], meta["queries"], meta["seed"], meta["pages"]) == (D, 2, 0, [])
    assert {"Python", "qdrant-client", "numpy", "ume-r1-rag"} <= meta["versions"].keys()
    assert len(meta["load"]) == 2
    assert "CPUs" in meta["machine"]


def test_the_table_fits_a_terminal_and_names_every_case(run):
    text, _ = run
    assert max(map(len, text.splitlines())) <= 100
    for name in ("text (BM25)", "three fused, RRF", "disc, by file", "disc, batch of 16", "to a folder"):
        assert name in text


def test_impossible_options_are_refused():
    assert "'x' is no number of at least 1" in ran("bench", "index", "--sizes", "10,x").output
    assert "'many' is no number of at least 1" in ran("bench", "index", "--pages", "many").output
    for wrong in (
        {"sizes": ()},
        {"sizes": (0,)},
        {"dimension": 1},
        {"pages": (0,)},
        {"pages": (3, 3)},
        {"model_cost_ms": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Options(**wrong)


# ---- the report


def report(**ingesting):
    both = [Cost([0.002] * 9 + [0.01], [0.003], 12.0), Cost([0.001] * 9 + [0.02], [0.002], None)]
    row = Ingesting("2B at 50 ms a page", "ours", 100, 10.0, 9.5, 9.2, 6.0, 80.0)
    return IndexReport(
        [Writing("memory", 50_000, *both)],
        [Searching("disc", 50_000, *both, 1.0), Searching("rrf", 50_000, *both, 0.85)],
        [
            replace(row, model="nano", seconds=20.0),
            replace(row, **ingesting),
            replace(row, side="plain", seconds=30.0),
        ],
        {"machine": "a machine", "load": [1.0, 2.0], "versions": {"Python": "3"}, "seconds": 3},
    )


def test_percentiles_ratios_and_memory_stand_in_the_table():
    lines = report().table().splitlines()
    disc = next(line for line in lines if line.startswith("disc"))
    assert disc.split() == "disc 2.0 6.4 1.0 11.4 2.00 0.56 1.50 12 - 100%".split()
    memory = next(line for line in lines if "to memory" in line)
    assert memory.split() == "50,000 to memory 1,785,714 1,724,138 0.97 1.50 12 -".split()
    assert max(map(len, lines)) <= 100


def test_the_goal_is_judged_by_our_ingestion_at_the_cost_of_a_2b_model():
    reached = report().table()
    assert "reached  at most 10% of the time outside the model: 8.0% (2B at 50 ms a page)" in reached
    assert "MISSED   at most 10% of the time outside the model: 26.4%" in report(seconds=12.5).table()
    row = next(line for line in reached.splitlines() if line.startswith("2B at 50 ms a page, ingest"))
    assert row.split()[-6:] == "10.0 8.0% 3.0% 5.0% 60 80".split()
    assert "reached" not in replace(report(), ingesting=[]).table()


def test_percentiles_of_figures_are_read_back_from_json():
    figures = json.loads(report().to_json())
    assert figures["searching"][1]["ours"]["seconds"][-1] == 0.01
    assert figures["ingesting"][0]["model"] == "nano"


# ---- ingestion


def test_paper_is_pages_of_words(tmp_path):
    write_paper(tmp_path / "paper", 12, seed=3)
    files = sorted((tmp_path / "paper").iterdir())
    pages = [len(pypdfium2.PdfDocument(file)) for file in files]
    assert pages == [10, 2]
    text = pypdfium2.PdfDocument(files[1])[0].get_textpage().get_text_range()
    assert len(text.splitlines()) == 60
    write_paper(tmp_path / "again", 12, seed=3)
    assert [file.read_bytes() for file in files] == [
        file.read_bytes() for file in sorted((tmp_path / "again").iterdir())
    ]


def test_both_sides_ingest_the_same_pages_and_the_model_takes_its_time(tmp_path):
    from ume_r1_bench.ingestion.ingest_bench import IngestBench

    write_paper(tmp_path / "paper", 3, seed=0)
    for side in ("ours", "plain"):
        bench = IngestBench(side, "2B", 20.0, str(tmp_path))
        done = bench.run(str(tmp_path / "paper"))
        bench.close()
        assert done["pages"] == 3
        assert 3 * 0.02 <= done["model_s"] < done["encode_s"] < done["seconds"]
    from qdrant_client import QdrantClient

    held = []
    for side, name in (("ours", "ume_r1"), ("plain", NAME)):
        client = QdrantClient(path=str(tmp_path / f"{side}-paper"))
        points = client.scroll(name, with_vectors=True)[0]
        held.append({one.id: (len(one.vector["disc"]), one.payload["ume_text"]) for one in points})
        client.close()
    assert held[0] == held[1]
    assert {size for size, _ in held[0].values()} == {1536}


@pytest.mark.slow
def test_a_run_with_pages_compares_nano_and_the_price_of_a_2b_model(tmp_path, monkeypatch):
    monkeypatch.setattr(index_bench, "check_alike", lambda *given: None)
    options = Options(sizes=(20,), dimension=D, queries=1, pages=(3, 4), model_cost_ms=5, path=tmp_path)
    found = index_bench.run_index_bench(options, progress=False).ingesting
    assert [(one.model, one.side) for one in found] == [
        ("nano", "ours"),
        ("nano", "plain"),
        ("2B at 5 ms a page", "ours"),
        ("2B at 5 ms a page", "plain"),
        ("nano", "ours"),
        ("nano", "plain"),
    ]
    assert [one.pages for one in found] == [3, 3, 3, 3, 4, 4]
    assert all(0 < one.model_s < one.encode_s < one.seconds for one in found)
    assert not any(tmp_path.iterdir()), "folders are removed"
