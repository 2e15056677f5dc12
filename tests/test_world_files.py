"""The world's files: records, corpus, queries and demo."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ume_r1_bench.world import FAMILIES, LABELS, LESSONS, WorldError, make_world, read_corpus, read_queries
from ume_r1_bench.world.codec import decode_mp4, decode_pdf
from ume_r1_bench.world.corpus import CorpusWriter
from ume_r1_bench.world.pool import make_pools
from ume_r1_bench.world.shelf import Shelf
from ume_r1_bench.world.split import make_rng
from ume_r1_bench.world.write import write_lines
from ume_r1_rag.template.prompt import EMBED_PROMPT, INSTRUCTIONS
from ume_r1_trainer.corpus import Corpus

PAIRS = 384


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    summary = make_world(root, split="train", sft=True, pairs=PAIRS, progress=False)
    return root, summary, [json.loads(line) for line in (root / "UME-sft-train.jsonl").open(encoding="utf-8")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One pool of each open family and the closed ones that show what is written anyway."""
    root = tmp_path_factory.mktemp("test")
    writer = CorpusWriter(Shelf(root, keep=True), make_rng("order"))
    seen = set()
    for pool in make_pools("test", 0):
        if pool.family not in seen and pool.family not in LABELS:
            writer.add(pool)
            seen.add(pool.family)
    write_lines(root / "corpus.jsonl", writer.documents)
    write_lines(root / "queries.jsonl", writer.queries)
    return root


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    make_world(root, split="demo", progress=False)
    return root, [json.loads(line) for line in (root / "questions.jsonl").open(encoding="utf-8")]


# ---- records


def test_records_have_the_official_shape(records):
    root, summary, lines = records
    assert summary.records == len(lines) == PAIRS
    for line in lines:
        assert list(line) == ["dataset_name", "qry", "pos"]
        for side in (line["qry"], line["pos"]):
            human, gpt = side["conversations"]
            assert (human["from"], gpt["from"]) == ("human", "gpt")
            assert human["value"].endswith(f"\n<disc_emb>\n{EMBED_PROMPT}")
            assert human["value"].startswith("<video>" if "video" in side else "<image>")
            assert set(side) == {"conversations", "video" if "video" in side else "image"}
            assert gpt["value"].startswith("<think>")
            assert "</think><answer>" in gpt["value"]
            assert gpt["value"].endswith("\n<gen_emb>")
            assert "</answer>" not in gpt["value"]
            paths = side.get("video") or [side["image"]]
            assert len(paths) == (8 if "video" in side else 1)
            assert all((root / path).is_file() for path in paths)


def test_text_alone_carries_the_blank_image(records):
    root, _, lines = records
    for line in lines:
        task = line["dataset_name"].split("_")[1]
        shows = {"find": "pos", "edit": None}.get(task, "qry")
        for name in ("qry", "pos"):
            blank = line[name].get("image") == "images/blank.jpg"
            assert blank == (shows is not None and name != shows)
    with Image.open(root / "images/blank.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (28, 28))
        assert np.asarray(image).min() == 255


def test_records_of_a_family_stand_together(records):
    _, _, lines = records
    names = [line["dataset_name"] for line in lines]
    assert tuple(dict.fromkeys(names)) == LESSONS
    assert names == sorted(names, key=LESSONS.index)


def test_one_input_has_one_completion_in_the_file(records):
    _, _, lines = records
    seen = {}
    for side in (line[name] for line in lines for name in ("qry", "pos")):
        human, gpt = (turn["value"] for turn in side["conversations"])
        key = (human, side.get("image"), tuple(side.get("video", ())))
        assert seen.setdefault(key, gpt) == gpt


def test_trainer_reads_the_records(records, tmp_path):
    root, _, lines = records
    file = Corpus(root / "UME-sft-train.jsonl")
    file.prepare(tmp_path)
    assert len(file) == len(lines)
    assert {name: len(rows) for name, rows in file.datasets.items()} == Counter(
        line["dataset_name"] for line in lines
    )
    assert file[0].query.text == lines[0]["qry"]["conversations"][0]["value"][7:].split("\n<disc_emb>")[0]


# ---- corpus and queries


def test_corpus_and_queries_fit(world):
    documents = {document.id: document for document in read_corpus(world)}
    queries = read_queries(world)
    assert len(documents) == len(read_corpus(world))
    assert len({query.id for query in queries}) == len(queries)
    for query in queries:
        assert len(query.candidates) == 64
        assert query.candidates.count(query.gold) == 1
        assert set(query.candidates) <= set(documents)
        assert query.text
        assert all(path.is_file() for path in (*query.video, *([query.image] if query.image else [])))


def test_gold_stands_anywhere(world):
    places = np.array([query.candidates.index(query.gold) for query in read_queries(world)])
    assert len(places) > 300
    assert abs(places.mean() - 31.5) < 3.5
    assert np.bincount(places, minlength=64).max() < 20
    # Neither does the id tell: rank among the sorted candidates follows no order of the queries.
    ranks = [sorted(query.candidates).index(query.gold) for query in read_queries(world)]
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)) % 64)[0, 1]) < 0.2


def test_documents_name_files_that_decode_to_what_is_queried(world):
    kinds = Counter()
    for document in read_corpus(world):
        kinds[document.kind] += 1
        if document.kind == "text":
            assert document.path is None
            assert document.text
        elif document.kind == "picture":
            assert document.path.suffix == ".png"
            assert document.text == INSTRUCTIONS["image"].document
        elif document.kind == "page" and kinds["page"] % 8 == 0:
            (page,) = decode_pdf(document.path.read_bytes(), 224)
            assert page.tobytes() == Image.open(document.image).convert("RGB").tobytes()
            assert document.text == INSTRUCTIONS["page"].document
        elif document.kind == "clip" and kinds["clip"] % 8 == 0:
            frames = decode_mp4(document.path.read_bytes())
            written = [Image.open(path).convert("RGB").tobytes() for path in document.frames]
            assert [frame.tobytes() for frame in frames] == written
            assert document.text == INSTRUCTIONS["clip"].document
    assert kinds == {"picture": 64, "page": 64, "clip": 64, "text": 192}


def test_reader_names_the_broken_line(tmp_path):
    with pytest.raises(WorldError, match=r"no corpus\.jsonl"):
        read_corpus(tmp_path)
    (tmp_path / "corpus.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(WorldError, match=r"corpus\.jsonl:1 is no document"):
        read_corpus(tmp_path)
    (tmp_path / "queries.jsonl").write_text("{}\nnope\n")
    with pytest.raises(WorldError, match=r"queries\.jsonl:1 is no query"):
        read_queries(tmp_path)


@pytest.mark.slow
def test_whole_test_world(tmp_path):
    summary = make_world(tmp_path, progress=False)
    assert set(summary.queries) == set(FAMILIES)
    assert min(summary.queries.values()) >= 512
    assert summary.documents == len(read_corpus(tmp_path))
    assert sum(summary.queries.values()) == len(read_queries(tmp_path))


# ---- demo


def test_demo_is_a_folder_of_plain_files(demo):
    root, _ = demo
    kinds = Counter(path.suffix for path in (root / "files").iterdir())
    assert kinds == {".png": 12, ".pdf": 6, ".mp4": 6}
    pages = [len(decode_pdf(path.read_bytes(), 224)) for path in sorted((root / "files").glob("*.pdf"))]
    assert sorted(pages) == [1, 1, 1, 1, 2, 3]


def test_demo_questions_have_their_answers(demo):
    root, questions = demo
    assert len(questions) == 8
    kinds = Counter(question["kind"] for question in questions)
    assert kinds == {"image": 3, "edit": 1, "page": 2, "clip": 2}
    for question in questions:
        gold = root / "files" / question["gold"]
        assert gold.is_file()
        assert question["text"] or question["image"]
        assert question["image"] is None or (root / question["image"]).is_file()
        if gold.suffix == ".pdf":
            assert 1 <= question["page"] <= len(decode_pdf(gold.read_bytes(), 224))


# ---- errors


def test_unknown_split_says_which_there_are(tmp_path):
    with pytest.raises(WorldError, match=r"split='all' .* train, dev, test, demo"):
        make_world(tmp_path, split="all", progress=False)


def test_training_records_are_of_the_train_split(tmp_path):
    with pytest.raises(WorldError, match="sft=True needs 'train'"):
        make_world(tmp_path, split="dev", sft=True, progress=False)


def test_pairs_need_sft(tmp_path):
    with pytest.raises(WorldError, match="sft=True"):
        make_world(tmp_path, split="train", pairs=100, progress=False)
