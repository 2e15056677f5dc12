from __future__ import annotations

import pytest
from mmeb_rows import V21, film, image_row, image_task, load, touch, write

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.frames import list_frames, sample_frames
from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.task import TASKS


def test_broken_tables_are_named(tmp_path):
    table = tmp_path / "image-tasks/VOC2007/test.jsonl"
    write(table, [])
    with pytest.raises(MmebError, match="VOC2007: its tables hold no row"):
        load("VOC2007", tmp_path)
    table.write_text('{"qry_inst": 1}\n{"qry_', encoding="utf-8")
    with pytest.raises(MmebError, match=r"test.jsonl:2 is no JSON"):
        load("VOC2007", tmp_path)
    write(table, [{"qry_inst": "a", "qry_text": "b"}])
    with pytest.raises(MmebError, match="has no column qry_img_path, tgt_text; it has qry_inst, qry_text"):
        load("VOC2007", tmp_path)
    table.unlink()
    table.with_suffix(".parquet").write_bytes(b"PAR?")
    with pytest.raises(MmebError, match=r"test.parquet cannot be read as parquet"):
        load("VOC2007", tmp_path)
    write(table.with_suffix(".jsonl"), [image_row("i", "", "VOC2007/1.jpg", texts=[])])
    table.with_suffix(".parquet").unlink()
    with pytest.raises(MmebError, match="VOC2007: there is no candidate"):
        load("VOC2007", tmp_path)


def test_what_is_not_there_is_told_with_the_remedy(tmp_path):
    with pytest.raises(
        DataMissing, match=r"no rows in .*image-tasks/VOC2007/test.parquet .*hf download"
    ) as caught:
        load_task(TASKS["VOC2007"], tmp_path, V21)
    assert caught.value.tables == (tmp_path / "image-tasks/VOC2007/test.parquet",)
    with pytest.raises(MmebError, match="is no folder"):
        load("VOC2007", tmp_path / "nowhere")
    row = image_row("i", "", "VOC2007/1.jpg", texts=["a"])
    write(tmp_path / "image-tasks/VOC2007/test.jsonl", [row, row | {"qry_img_path": "VOC2007/2.jpg"}])
    touch(tmp_path / "image-tasks/VOC2007/1.jpg")
    with pytest.raises(DataMissing, match=r"1 of 2 pictures are missing, first .*VOC2007/2.jpg") as caught:
        load("VOC2007", tmp_path)
    assert caught.value.media == (tmp_path / "image-tasks/VOC2007/2.jpg",)


def test_a_limit_draws_queries_by_seed_and_leaves_their_candidates(tmp_path):
    rows = [
        image_row("i", f"t{n}", "VOC2007/1.jpg", texts=[f"right{n}", f"wrong{n}", "both"]) for n in range(30)
    ]
    image_task(tmp_path, "VOC2007", *rows)
    every, some = load("VOC2007", tmp_path), load("VOC2007", tmp_path, limit=5, seed=3)
    assert (len(some.queries), some.total) == (5, 30)
    assert all(query in every.queries for query in some.queries)
    assert [query.id for query in some.queries] == sorted((q.id for q in some.queries), key=int)
    assert set(some.candidates) == {name for query in some.queries for name in query.candidates}
    assert load("VOC2007", tmp_path, limit=5, seed=3) == some
    assert load("VOC2007", tmp_path, limit=5, seed=4).queries != some.queries
    assert load("VOC2007", tmp_path, limit=99).queries == every.queries
    with pytest.raises(MmebError, match="limit=0"):
        load("VOC2007", tmp_path, limit=0)


def test_a_limit_keeps_all_candidates_of_a_global_task(tmp_path):
    rows = [{"videoID": f"v{n}", "enCap": [f"c{n}"]} for n in range(6)]
    write(tmp_path / "video-tasks/VATEX/test.jsonl", rows)
    for n in range(6):
        film(tmp_path / TASKS["VATEX"].root / f"v{n}")
    data = load("VATEX", tmp_path, limit=2)
    assert (len(data.queries), len(data.candidates)) == (2, 6)


def test_frames_are_taken_in_natural_order(tmp_path):
    touch(*(tmp_path / name for name in ("f10.PNG", "f9.jpg", "f1.jpeg", "f2.txt", "f02.jpg")))
    assert [path.name for path in list_frames(tmp_path)] == ["f1.jpeg", "f02.jpg", "f9.jpg", "f10.PNG"]
    assert list_frames(tmp_path / "none") == ()
    assert sample_frames(range(7), 8) == tuple(range(7))
    assert sample_frames(range(8), 8) == tuple(range(8))
    assert sample_frames(range(64), 8) == (0, 9, 18, 27, 36, 45, 54, 63)
    assert sample_frames(range(20), None) == tuple(range(20))
